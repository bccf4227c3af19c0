"""One evaluation for all methods: held-out log predictive density, calibration, error, and the gap
to exact.

Every method is trained on the same task for equal time on the same machine, then asked about the
same fresh datasets.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pandas as pd
from scipy.stats import mode

from amortppl import catalogue
from amortppl.data.batches import batches
from amortppl.data.dataset import Dataset
from amortppl.errors import DataError, GuideError, ModelError
from amortppl.guide.guide import Guide
from amortppl.guide.train import train
from amortppl.posterior import predictions
from amortppl.predictive.components import is_classification
from amortppl.runtime import batched_map
from amortppl.task.abstract import AbstractTask

QUERIES, DRAWS = 32, 500

STEPS = (1, 4, 16)
"""Numbers of mini-batches that the largest context is cut into."""


class Held(NamedTuple):
    """A fresh dataset: context and queries, and the exact log predictive density of these where it
    is known.
    """

    context: dict[str, np.ndarray]
    query: dict[str, np.ndarray]
    exact: np.ndarray | None


def compare(
    model: str,
    methods: Sequence[str],
    *,
    minutes: float = 2.0,
    datasets: int = 30,
    seed: int = 0,
    say=lambda text: None,
) -> pd.DataFrame:
    """Trains each method for `minutes` and scores it on the same held-out datasets.

    These are simulated from the model; for a file of episodes they are its `held_out` episodes.

    Args:
        model: a model's name, or a path to its file.
        methods: names of methods, or paths.
        minutes: of training for each, compilation included; none for a method that learns nothing.
        datasets: fresh datasets for each number of rows.
        say: called with a line for each method.

    Returns:
        A row for every method, number of context rows and number of steps: `lpd` a query in nats
        and its standard error over datasets, `rmse` of the predictive mean (of numbers that only
        name classes it means nothing), where the values are finitely many `accuracy` of the
        likeliest one, `pit` (the largest distance between the distribution of the probability
        integral transform and the uniform; 0 is calibrated), `gap` to the exact predictive, and the
        CPU seconds of training. A method that cannot serve the task has one row, which says why in
        `error`; one that takes no mini-batches says it in the rows of several steps.

    Raises:
        DataError: no method, or fewer than two datasets.
        LookupError: no such model or method.
    """
    if not methods or datasets < 2:
        raise DataError(
            f"compare: expected at least one method and two datasets, got {len(methods)} and "
            f"{datasets}"
        )
    task, file = catalogue.model(model), catalogue.module("models", catalogue.split_name(model)[0])
    specs = {name: catalogue.method(name) for name in methods}
    if task.block:
        raise ModelError(
            f"compare: the data of {task.name} are one block, which has no rows to hold out"
        )
    apart = catalogue.has_episodes(file) and hasattr(file, "held_out")
    fresh = catalogue.model(f"{catalogue.split_name(model)[0]}:held_out") if apart else task
    held = {
        rows: [_hold_out(fresh, file, rows, seed, i) for i in range(datasets)]
        for rows in _sizes(task)
    }
    table = []
    for name, spec in specs.items():
        try:
            guide, cpu = _train(task, spec, minutes, seed)
        except ModelError as error:
            table.append({"method": name, "error": str(error)})
            say(f"{name}: {error}")
            continue
        say(f"{name}: trained in {cpu:.0f} CPU s, {guide.record.steps} updates")
        each = [(rows, 1) for rows in held] + [(max(held), k) for k in STEPS if 1 < k <= max(held)]
        for rows, steps in each:
            try:
                scores = _score(guide, held[rows], rows, steps)
            except GuideError as error:  # rows that are tied to one another come in no mini-batches
                scores = {"rows": rows, "steps": steps, "error": str(error)}
                say(f"{name}, {steps} steps: {error}")
            table.append({"method": name, "cpu_s": cpu, **scores})
        # Each program takes memory mappings, of which a process has 65,530; the next has its own
        jax.clear_caches()
    return pd.DataFrame(table)


def _sizes(task: AbstractTask) -> list[int]:
    """Smallest, middle (by the logarithm) and largest number of context rows."""
    return sorted({round(r) for r in np.geomspace(*task.rows, 3)})


def _train(task: AbstractTask, spec: Any, minutes: float, seed: int) -> tuple[Guide, float]:
    began = time.process_time()
    length = {} if spec.schedule(task).get("steps") == 0 else {"minutes": minutes}
    guide = train(task, spec, seed=seed, progress=False, **length)
    return guide, time.process_time() - began


def _hold_out(task: AbstractTask, file: ModuleType, rows: int, seed: int, number: int) -> Held:
    draw = task.simulate(jr.fold_in(jr.key(seed + 10_000), number), rows + QUERIES)
    data = {n: np.asarray(v) for n, v in draw.data.items()}
    context, query = {n: v[:rows] for n, v in data.items()}, {n: v[rows:] for n, v in data.items()}
    posterior = getattr(file, "exact_posterior", None)
    if posterior is not None:
        return Held(context, query, _exact(task, posterior, context, query, number))
    if task.tied and not task.latents.size:
        known, new = Dataset(context, {}), Dataset(query, {})
        return Held(
            context,
            query,
            predictions.pointwise_new_rows(task, np.zeros((1, 0), np.float32), known, new)[0],
        )
    return Held(context, query, None)


def _exact(
    task: AbstractTask,
    posterior: Callable[..., dict],
    context: dict[str, Any],
    query: dict[str, Any],
    number: int,
) -> np.ndarray:
    """log 1/S sum_s p(y* | x*, theta_s) under exact draws; S = 4000 leaves about 0.001 nats."""
    draws = {
        n: jnp.asarray(v, jnp.float32) for n, v in posterior(context, jr.key(number), 4000).items()
    }

    @jax.jit
    def rows(draws: dict[str, Any], query: dict[str, Any]) -> Any:
        def one(sites: dict[str, Any]) -> Any:
            return task.log_densities(task.unconstrain(sites, query), query)[1]

        return jax.scipy.special.logsumexp(batched_map.batched_map(one, draws, 256), 0) - jnp.log(
            4000.0
        )

    return np.asarray(rows(draws, {n: jnp.asarray(v) for n, v in query.items()}))


def _score(guide: Guide, held: Sequence[Held], rows: int, steps: int) -> dict[str, Any]:
    """Means over datasets, and their standard errors."""
    classes = is_classification(guide.task)
    found = [_one(guide, h, rows, steps, classes) for h in held]
    lpd, square, right, gap = (
        np.array([f[k] for f in found], np.float64) for k in ("lpd", "square", "right", "gap")
    )
    pit = np.sort(np.concatenate([f["pit"] for f in found]))
    error = np.sqrt(len(held))
    return {
        "rows": rows,
        "steps": steps,
        "lpd": lpd.mean(),
        "lpd_se": lpd.std(ddof=1) / error,
        "rmse": np.sqrt(square.mean()),
        "accuracy": right.mean(),
        "pit": np.max(np.abs(pit - (np.arange(len(pit)) + 0.5) / len(pit))),
        "gap": gap.mean(),
        "gap_se": gap.std(ddof=1) / error,
    }


def _one(guide: Guide, held: Held, rows: int, steps: int, classes: set[str]) -> dict[str, Any]:
    known: Any = held.context
    if steps > 1:
        *_, known = guide.stream(batches(held.context, size=-(-rows // steps)), progress=False)
    lpd = guide.log_predictive(known, held.query, draws=DRAWS)
    inputs: Any = {n: held.query[n] for n in guide.task.inputs} or QUERIES
    drawn = guide.predict(known, inputs, draws=DRAWS)["predictions"]
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
    """Score against rows of context (one step) and against steps (the most rows), one line a
    method.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scored = table[table["lpd"].notna()] if "lpd" in table else table.iloc[:0]
    drawn, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for name, own in scored.groupby("method", sort=False):
        most = own["rows"].max()
        for axis, part, at in (
            (axes[0], own[own.steps == 1], "rows"),
            (axes[1], own[own.rows == most], "steps"),
        ):
            axis.errorbar(
                part[at], part["lpd"], 2 * part["lpd_se"], marker="o", capsize=2, label=name
            )
    axes[0].set(
        xscale="log", xlabel="rows of context", ylabel="log predictive density, nats a query"
    )
    axes[1].set(xscale="log", xlabel="steps (mini-batches)")
    if len(scored):
        axes[0].legend(fontsize="small")
    drawn.tight_layout()
    drawn.savefig(path)
    plt.close(drawn)
    return Path(path)
