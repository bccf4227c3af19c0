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
    minutes: float = 2.0,
    rows: int | Sequence[int] | None = None,
    figure: str | Path | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Runs several inferences on the same simulated datasets.

    Means and sds are compared, on the unconstrained scale, with those of a long run of NUTS
    (4 chains, 1,000 steps of warm-up, 4,000 draws) on some of the datasets; calibration is that of
    `ap.calibrate` on all of them.

    Args:
        task: the model, its inputs and sizes.
        inferences: names, functions or guides as of `ap.calibrate`, or a dict of these by the name
            to show. A method that must be trained is trained first.
        datasets: simulated, at least 20.
        draws: for each dataset, before thinning.
        seed: of the datasets and of all inferences.
        references: datasets with a reference.
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
        >>> import amortppl as ap
        >>> task = ap.model("gaussian_mean", rows=6)
        >>> table = ap.contest(task, ["laplace"], datasets=20, references=4)
        >>> bool(table["mean_error"].max() < 0.2)
        True
    """
    names = _named(inferences)
    expect_whole("contest: references", references, 1)
    expect_positive("contest: minutes", minutes)
    both = dict(rows=rows, progress=False)
    reference = _refer(task, references, datasets, seed, rows, say)
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
        row |= _score(task, measured, reference, inference.name)
        ratios[name] = _ratios(measured, reference)
        table.append(row)
        say(f"{name}: error of means {row['mean_error']:.3f} sd, {row['cpu_s']:.1f} CPU s")
        jax.clear_caches()  # programs take memory mappings, of which a process has 65,530
    result = pd.DataFrame(table).set_index("inference")
    result.attrs["reference_problems"] = sum(map(bool, reference.problems))
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
    references: int,
    datasets: int,
    seed: int,
    rows: int | Sequence[int] | None,
    say: Callable[[str], object],
) -> Measured:
    """Moments of the reference, of evenly spaced datasets; NaN of the others."""
    some = np.unique(np.linspace(0, datasets - 1, min(references, datasets)).astype(int))
    reference = nuts(task, CHAINS, WARMUP, 0.9)
    measured = measure_inference(
        task, reference, datasets, LENGTH, seed, rows=rows, progress=False, only=some
    )
    say(f"reference: NUTS of {len(some)} datasets, {sum(map(bool, measured.problems))} doubtful")
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

    from amortppl.report.figures import DATA, GUIDE

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, row in table[table.get("mean_error", pd.Series(dtype=float)).notna()].iterrows():
        left.plot(row["cpu_s"], row["mean_error"], "o", color=GUIDE)
        left.annotate(str(name), (row["cpu_s"], row["mean_error"]), xytext=(4, 3),
                      textcoords="offset points", fontsize=8)  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="CPU seconds", ylabel="error of means, sds")
    left.margins(x=0.35, y=0.2)
    values = [r[np.isfinite(r)] for r in ratios.values()]
    if values:
        right.boxplot(values, orientation="horizontal", whis=(5, 95), showfliers=False)
        right.set_yticks(range(1, len(values) + 1), list(ratios), fontsize=8)
    right.axvline(1.0, color=DATA, linewidth=0.8, linestyle=(0, (4, 2)))
    right.set(xscale="log", xlabel="sd / reference sd")
    figure.savefig(path, dpi=150)
    return Path(path)
