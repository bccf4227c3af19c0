"""Several inferences on the same datasets: errors, calibration and seconds."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array

from amortppl import catalogue
from amortppl.diagnostics.calibration import Calibration
from amortppl.diagnostics.inference_sbc import Measured, measure_inference
from amortppl.diagnostics.inferences.inference import Answers, Inference
from amortppl.diagnostics.inferences.named import find_inference
from amortppl.diagnostics.inferences.nuts import nuts
from amortppl.diagnostics.inferences.trained import of_guide
from amortppl.errors import DataError
from amortppl.guide.train import train
from amortppl.runtime.arguments import expect_positive, expect_whole
from amortppl.task.abstract import AbstractTask
from amortppl.training.trained import TrainedMethod

CHAINS, WARMUP, LENGTH = 4, 1000, 4000
"""Chains, steps of warm-up, and draws of all chains together, of the reference."""

COLUMNS = ("mean_error", "sd_ratio", "sd_error", "sbc_p", "coverage_90", "ok")
"""What is told of the answers."""


class Spent(NamedTuple):
    """Seconds of an inference: CPU over all cores, and by the clock."""

    cpu: float
    wall: float


def contest(
    task: AbstractTask,
    inferences: Sequence[Any] | Mapping[str, Any],
    datasets: int = 100,
    draws: int = 1000,
    seed: int = 0,
    *,
    references: int = 30,
    reference: Any = None,
    minutes: float = 2.0,
    rows: int | Sequence[int] | None = None,
    figure: str | Path | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Runs several inferences on the same simulated datasets.

    Means and sds are compared, on the unconstrained scale, with those of a long run of NUTS (4
    chains, 1,000 steps of warm-up, 4,000 draws) on some of the datasets; calibration is that of
    `ap.calibrate` on all of them.

    Args:
        task: the model, its inputs and sizes.
        inferences: names, functions or guides as of `ap.calibrate`, or a dict of these by the name
            to show. A method that must be trained is trained first.
        datasets: simulated, at least 20.
        draws: for each dataset, before thinning.
        seed: of the datasets and of all inferences.
        references: datasets with a reference.
        reference: an inference in place of the long run of NUTS, such as exact draws.
        minutes: wall-clock minutes to train a method for.
        rows: numbers of rows, as of `ap.calibrate`.
        figure: an image file to draw as well.
        say: called with a line for each inference.

    Returns:
        A row an inference, with the columns

        - `train_s`: CPU seconds of training,
        - `cpu_s`, `seconds`: of all inferences together, compilation included: CPU, and by the
          clock,
        - `mean_error`: root mean square of (mean - reference mean) / reference sd, over datasets
          and latents; of a NUTS run of the same length about 1 / sqrt(effective draws),
        - `sd_ratio`: median of sd / reference sd, `sd_error`: root mean square of its logarithm,
        - `sbc_p`: one p-value of all checks of calibration, `coverage_90` of central intervals,
        - `ok`: whether it is calibrated, as `ap.calibrate` has it as a whole,
        - `problems`: datasets with an error or with chains that did not agree,
        - `error`: why an inference could not run at all.

        In `attrs`, `reference_problems`: references whose chains did not agree.

    Raises:
        DataError: no inference, a name that there is not, or too few datasets.

    Example:
        >>> import amortppl as ap, jax
        >>> task = ap.model("gaussian_mean", rows=8)
        >>> def exact(data, key):
        ...     return {"mean": data["y"].sum() / 9 + jax.random.normal(key, (4000,)) / 3}
        >>> table = ap.contest(task, ["laplace"], datasets=20, references=4, reference=exact)
        >>> bool(table["mean_error"].max() < 0.2)
        True
    """
    names = _named(inferences)
    expect_whole("contest: references", references, 1)
    expect_positive("contest: minutes", minutes)
    both = dict(rows=rows, progress=False)
    truth = _prepare(task, reference, minutes, seed)[1] if reference is not None else None
    standard = _refer(task, truth, references, datasets, seed, rows, say)
    table, ratios = [], {}
    for name, given in names.items():
        row: dict[str, Any] = {"inference": name}
        try:
            row["train_s"], inference = _prepare(task, given, minutes, seed)
            inference, spent = _timed(inference)
            measured = measure_inference(task, inference, datasets, draws, seed, **both)
        except (DataError, ImportError) as error:
            if len(names) == 1:
                raise
            table.append({**row, "error": str(error)})
            say(f"{name}: {error}")
            continue
        row |= {"cpu_s": sum(s.cpu for s in spent), "seconds": sum(s.wall for s in spent)}
        row |= _score(task, measured, standard, inference.name)
        ratios[name] = _ratios(measured, standard)
        table.append(row)
        say(f"{name}: error of means {row['mean_error']:.3f} sd, {row['cpu_s']:.1f} CPU s")
        jax.clear_caches()  # programs take memory mappings, of which a process has 65,530
    result = pd.DataFrame(table).set_index("inference")
    result.attrs["reference_problems"] = sum(map(bool, standard.problems))
    if figure is not None:
        draw_contest(result, ratios, figure)
    return result


def _named(inferences: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(inferences, str) or not len(inferences):
        raise DataError(f"contest: expected a list of inferences, got {inferences!r}")
    if isinstance(inferences, Mapping):
        return dict(inferences)
    named: dict[str, Any] = {}
    for given in inferences:
        name = given if isinstance(given, str) else getattr(given, "__name__", None)
        name = name or type(getattr(given, "spec", given)).__name__
        named[f"{name} {len(named)}" if name in named else name] = given
    return named


def _prepare(task: AbstractTask, given: Any, minutes: float, seed: int) -> tuple[float, Inference]:
    """CPU seconds of training, and the inference."""
    begin = time.process_time()
    if isinstance(given, str) and given in catalogue.names("inference"):
        spec = catalogue.method(given)
        nothing = spec.schedule(task).get("steps") == 0
        length: dict[str, Any] = {} if nothing else {"minutes": minutes}
        given = train(task, spec, seed=seed, progress=False, **length)
    inference = find_inference(task, given)
    if isinstance(inference, TrainedMethod):
        inference = of_guide(inference)
    return time.process_time() - begin, inference


def _timed(inference: Inference) -> tuple[Inference, list[Spent]]:
    """The inference, and a list to which each call adds what it took."""
    spent: list[Spent] = []

    def run(data: dict[str, np.ndarray], keys: Array, draws: int) -> Answers:
        cpu, wall = time.process_time(), time.perf_counter()
        answers = inference.run(data, keys, draws)
        spent.append(Spent(time.process_time() - cpu, time.perf_counter() - wall))
        return answers

    return inference._replace(run=run), spent


def _refer(
    task: AbstractTask,
    inference: Inference | None,
    references: int,
    datasets: int,
    seed: int,
    rows: int | Sequence[int] | None,
    say: Callable[[str], object],
) -> Measured:
    """Moments of the reference, of evenly spaced datasets; NaN of the others."""
    some = np.unique(np.linspace(0, datasets - 1, min(references, datasets)).astype(int))
    long = inference or nuts(task, CHAINS, WARMUP, 0.9)
    measured = measure_inference(
        task, long, datasets, LENGTH, seed, rows=rows, progress=False, only=some
    )
    doubtful = sum(map(bool, measured.problems))
    say(f"reference: {long.name} of {len(some)} datasets, {doubtful} doubtful")
    return measured


def _score(
    task: AbstractTask, measured: Measured, reference: Measured, name: str
) -> dict[str, Any]:
    """Errors against the reference, and the calibration."""
    latents, error = task.latents.labels(), _errors(measured, reference)
    calibration = Calibration(task.name, latents, measured.measurements, 0, False, name)
    ratio = np.log(_ratios(measured, reference))
    return {
        "mean_error": float(np.sqrt(np.nanmean(error**2))),
        "sd_ratio": float(np.exp(np.nanmedian(ratio))),
        "sd_error": float(np.sqrt(np.nanmean(ratio**2))),
        "sbc_p": calibration.p_value,
        "coverage_90": float(calibration.table["coverage_90"].mean()),
        "ok": calibration.ok,
        "problems": sum(map(bool, measured.problems)),
    }


def _errors(measured: Measured, reference: Measured) -> np.ndarray:
    """(mean - reference mean) / reference sd, (T, P)."""
    return (measured.mean - reference.mean) / reference.sd


def _ratios(measured: Measured, reference: Measured) -> np.ndarray:
    """sd / reference sd, (T, P)."""
    return measured.sd / reference.sd


def draw_contest(table: pd.DataFrame, ratios: Mapping[str, np.ndarray], path: str | Path) -> Path:
    """Draws a contest to an image file: errors of means against seconds, and ratios of sds."""
    from matplotlib.figure import Figure

    from amortppl.report.chain_figures import COLORS
    from amortppl.report.figures import DATA

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    done = [n for n in ratios if np.isfinite(table.loc[n, "mean_error"])]
    for i, name in enumerate(done):
        at = table.loc[name, ["cpu_s", "mean_error"]].astype(float)
        left.plot(*at, "o", color=COLORS[i % len(COLORS)], label=name)
    left.set(xscale="log", yscale="log", xlabel="CPU seconds", ylabel="error of means, sds")
    left.margins(0.2)
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    values = [ratios[n][np.isfinite(ratios[n])] for n in done]
    for i, each in enumerate(values):
        low, first, middle, third, high = np.quantile(each, [0.05, 0.25, 0.5, 0.75, 0.95])
        color = COLORS[i % len(COLORS)]
        right.plot([low, high], [-i, -i], color=color, linewidth=1.2)
        right.plot([first, third], [-i, -i], color=color, linewidth=3.5)
        right.plot(middle, -i, "o", color="white", markeredgecolor=color)
    right.set_yticks([])
    right.axvline(1.0, color=DATA, linewidth=0.8, linestyle=(0, (4, 2)))
    right.set(xlabel="sd / reference sd: median, halves, nine tenths")
    if done:
        figure.legend(loc="outside lower center", ncols=min(3, len(done)), fontsize=9)
    figure.savefig(path, dpi=150)
    return Path(path)
