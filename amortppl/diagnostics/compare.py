"""One evaluation for all methods: held-out log predictive density, error and calibration.

Every method is trained on the same task for equal time on the same machine, then asked about the
same fresh datasets. Where there are no rows to predict, or no density to predict them by,
posteriors are scored by the latents that made the datasets (`amortppl.diagnostics.latent_scores`).

A method whose every posterior is a search, as `neural_likelihood`, is scored for as long as it was
trained for, on as many of the datasets as it comes to.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from scipy.stats import mode

from amortppl import catalogue
from amortppl.data.batches import batches
from amortppl.diagnostics.held_out import QUERIES, Held, hold_out
from amortppl.diagnostics.latent_scores import score_latents
from amortppl.diagnostics.pace import pace
from amortppl.diagnostics.sbc import refuse_few
from amortppl.diagnostics.uniformity import distance_from_uniform
from amortppl.errors import DataError, GuideError, ModelError
from amortppl.guide.guide import Guide
from amortppl.guide.train import train
from amortppl.predictive.components import is_classification
from amortppl.runtime.arguments import expect_positive, expect_seed, expect_whole
from amortppl.task.abstract import AbstractTask
from amortppl.task.simulation_task import SimulationTask

DRAWS, DEAR_DRAWS = 500, 200
"""Predictive draws of a query, or draws of a posterior; the latter where each answer is a search,
whose points are draws enough then more often, so that no chain is run.
"""

STEPS = (1, 4, 16)
"""Numbers of mini-batches that the largest context is cut into."""

LEAST = 2
"""Datasets that are scored however long they take, of each number of rows."""


def compare(
    model: str,
    methods: Sequence[str],
    *,
    minutes: float = 2.0,
    datasets: int = 30,
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Trains methods for equal time and scores them on the same held-out datasets.

    The datasets are simulated from the model. For a file of episodes they are its `held_out`
    episodes.

    Args:
        model: a model's name, or a path to its file.
        methods: names of methods, or paths to their files.
        minutes: wall-clock minutes of training for each, compilation included; a method that learns
            nothing is not trained.
        datasets: fresh datasets for each number of rows, at least two; 20 where
            latents are scored.
        seed: the seed of training and of the datasets.
        progress: whether to show bars of training and of scoring.
        say: called with a line for each method.

    Returns:
        A row for every method, number of context rows and number of steps, with the columns

        - `lpd`, `lpd_se`: log predictive density a query in nats, and its standard error,
        - `rmse`: root mean square error of the predictive mean (for classes it means nothing),
        - `accuracy`: share of queries whose likeliest class is right, where there are classes,
        - `pit`: largest distance between the distribution function of the probability integral
          transform and the uniform one, 0 when calibrated,
        - `gap`, `gap_se`: nats below the exact predictive, where that is known,
        - `datasets`: how many were scored. Of a method whose every posterior is a search, as
          `neural_likelihood`, as many as it comes to in `minutes` of all its rows together, and two
          at least; of so few `rmse` and `pit` say little,
        - `cpu_s`: CPU seconds of training.

        Of a simulator, which has no density to predict rows by, and of one block, which has no rows
        to hold out, a row for every method, with `rmse` and `pit` of the unconstrained latents,
        `datasets`, and

        - `log_posterior`, `log_posterior_se`: log density of the latents that made a dataset.

        A method that cannot serve the task has one row, with the reason in `error`. One that takes
        no mini-batches has it in the rows of several steps.

    Raises:
        DataError: no method, or too few datasets.
        LookupError: no such model or method.
        ModelError: the data are one block, and no latents can be scored.

    Example:
        >>> import amortppl as ap
        >>> table = ap.compare("gaussian_mean", ["laplace"], datasets=2, progress=False)
        >>> bool((table["gap"].abs() < 0.1).all())  # Laplace's approximation is exact here
        True
    """
    expect_whole("compare: datasets", datasets, 0)
    expect_positive("compare: minutes", minutes)
    expect_seed(seed)
    if not methods or datasets < 2:
        raise DataError(
            f"compare: expected at least one method and two datasets, got {len(methods)} and "
            f"{datasets}"
        )
    specs = {name: catalogue.method(name) for name in methods}
    task, table = catalogue.model(model), []
    by_latents = task.latents.size > 0 and (task.block or isinstance(task, SimulationTask))
    if by_latents:
        refuse_few(datasets, DRAWS)
    held = {} if by_latents else hold_out(model, datasets, seed)
    for name, spec in specs.items():
        try:
            guide, cpu = _train(task, spec, minutes, seed, progress)
        except ModelError as error:
            table.append({"method": name, "error": str(error)})
            say(f"{name}: {error}")
            continue
        say(f"{name}: trained in {cpu:.0f} CPU s, {guide.record.steps} updates")
        given = _Scored(guide, name, datasets, minutes, progress, say)
        if not guide.method.quick:
            say(
                f"{name}: each of its posteriors is a search, so that scoring ends after about "
                f"{minutes:g} minutes, with {datasets} datasets or fewer"
            )
        rows = given.by_latents(seed) if by_latents else given.by_rows(held)
        table += [{"method": name, "cpu_s": cpu, **row} for row in rows]
        # Each program takes memory mappings, of which a process has 65,530; the next has its own.
        jax.clear_caches()
    return pd.DataFrame(table)


class _Scored(NamedTuple):
    """A trained method that is to be scored."""

    guide: Guide
    name: str
    datasets: int
    minutes: float
    progress: bool
    say: Callable[[str], object]

    def by_latents(self, seed: int) -> list[dict[str, Any]]:
        """Its scores, in one row."""
        with self._pace("", 1) as go_on:
            draws = DRAWS if self.guide.method.quick else DEAR_DRAWS
            row = score_latents(self.guide, self.datasets, draws, seed, go_on)
        self._tell(row)
        return [row]

    def by_rows(self, held: dict[int, list[Held]]) -> Iterator[dict[str, Any]]:
        """Scores for each number of rows in one step, and for the most rows in several."""
        most = max(held)
        cells = [(rows, 1) for rows in held]
        cells += [(most, k) for k in STEPS if 1 < k <= most]
        for rows, steps in cells:
            try:
                with self._pace(f", {rows} rows", len(cells)) as go_on:
                    row = _score(self.guide, held[rows], rows, steps, go_on)
            except GuideError as error:  # rows tied to one another come in no mini-batches
                self.say(f"{self.name}, {steps} steps: {error}")
                yield {"rows": rows, "steps": steps, "error": str(error)}
            else:
                self._tell(row)
                yield row

    def _pace(self, what: str, cells: int) -> AbstractContextManager[Callable[[int], bool]]:
        seconds = None if self.guide.method.quick else 60 * self.minutes / cells
        return pace(self.name + what, self.datasets, seconds, LEAST, self.progress)

    def _tell(self, row: dict[str, Any]) -> None:
        if row["datasets"] < self.datasets and not self.guide.method.quick:
            self.say(f"{self.name}: scored on {row['datasets']} of {self.datasets} datasets")


def _train(
    task: AbstractTask, spec: Any, minutes: float, seed: int, progress: bool
) -> tuple[Guide, float]:
    """A guide, and the CPU seconds of its training."""
    begin = time.process_time()
    length = {} if spec.schedule(task).get("steps") == 0 else {"minutes": minutes}
    guide = train(task, spec, seed=seed, progress=progress and bool(length), **length)
    return guide, time.process_time() - begin


def _score(
    guide: Guide, held: Sequence[Held], rows: int, steps: int, go_on: Callable[[int], bool]
) -> dict[str, Any]:
    """Means over datasets, and their standard errors."""
    classes, scores = is_classification(guide.task), []
    for each in held:
        scores.append(_score_one(guide, each, rows, steps, classes))
        if not go_on(len(scores)):
            break
    lpd, square, right, gap = (
        np.array([s[k] for s in scores], np.float64) for k in ("lpd", "square", "right", "gap")
    )
    error = np.sqrt(len(scores))
    return {
        "rows": rows,
        "steps": steps,
        "datasets": len(scores),
        "lpd": lpd.mean(),
        "lpd_se": lpd.std(ddof=1) / error,
        "rmse": np.sqrt(square.mean()),
        "accuracy": right.mean(),
        "pit": distance_from_uniform(np.concatenate([s["pit"] for s in scores])),
        "gap": gap.mean(),
        "gap_se": gap.std(ddof=1) / error,
    }


def _score_one(
    guide: Guide, held: Held, rows: int, steps: int, classes: set[str]
) -> dict[str, Any]:
    """Scores of one dataset: means over queries, and all probability integral transforms."""
    context: Any = held.context
    if steps > 1:
        begun = guide.init(at={n: held.query[n] for n in guide.task.inputs} or QUERIES)
        source = batches(held.context, size=-(-rows // steps))
        *_, context = guide.stream(source, begun, progress=False)
    lpd = guide.log_predictive(context, held.query, draws=DRAWS)
    inputs: Any = {n: held.query[n] for n in guide.task.inputs} or QUERIES
    drawn = guide.predict(context, inputs, draws=DRAWS)["predictions"]
    square, right, pit = [], [], []
    for name in guide.task.observed:
        draws, truth = drawn[name].values[0], held.query[name]
        square.append(np.mean((draws.mean(0) - truth) ** 2))
        if name in classes:
            right.append(np.mean(mode(draws).mode == truth))
        below, equal = np.mean(draws < truth, 0), np.mean(draws == truth, 0)
        rng = np.random.default_rng(rows)
        pit.append((below + rng.uniform(size=below.shape) * equal).ravel())
    gap = np.nan if held.exact is None else np.mean(held.exact - lpd)
    hit = np.mean(right) if right else np.nan
    return {
        "lpd": np.mean(lpd),
        "square": np.mean(square),
        "right": hit,
        "pit": np.concatenate(pit),
        "gap": gap,
    }


def figure(table: pd.DataFrame, path: str | Path) -> Path:
    """Draws the log predictive densities of `compare`, one line a method, and returns the path.

    Left against rows of context in one step, right against steps at the most rows, with two
    standard errors on either side. Where latents were scored: log posterior densities.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if "log_posterior" in table:
        return _latent_figure(table[table["log_posterior"].notna()], path)
    scored = table[table["lpd"].notna()] if "lpd" in table else table.iloc[:0]
    drawn, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for name, own in scored.groupby("method", sort=False):
        most = own["rows"].max()
        panels = (left, own[own.steps == 1], "rows"), (right, own[own.rows == most], "steps")
        for axis, part, at in panels:
            error = 2 * part["lpd_se"]
            axis.errorbar(part[at], part["lpd"], error, marker="o", capsize=2, label=name)
    label = "log predictive density, nats a query"
    left.set(xscale="log", xlabel="rows of context", ylabel=label)
    right.set(xscale="log", xlabel="steps (mini-batches)")
    if len(scored):
        left.legend(fontsize="small")
    drawn.tight_layout()
    drawn.savefig(path)
    plt.close(drawn)
    return Path(path)


def _latent_figure(table: pd.DataFrame, path: str | Path) -> Path:
    import matplotlib.pyplot as plt

    drawn, axis = plt.subplots(figsize=(5, 1 + 0.4 * len(table)), layout="constrained")
    error = 2 * table["log_posterior_se"]
    axis.errorbar(table["log_posterior"], table["method"], xerr=error, fmt="o", capsize=2)
    axis.set(xlabel="log posterior density of the truth, nats")
    drawn.savefig(path)
    plt.close(drawn)
    return Path(path)
