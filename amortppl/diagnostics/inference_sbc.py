"""Simulates datasets of few shapes and measures any inference's posteriors of them.

Datasets of one number of rows have one shape, so that they are inferred together and compiled once.
What is measured, and the datasets that are done, are kept in a file, from which a run continues.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.diagnostics.inference_store import KIND, Measured, Simulated, Store
from amortppl.diagnostics.inferences.inference import Inference
from amortppl.diagnostics.ranking import Posterior, rank_truth
from amortppl.diagnostics.sbc import (
    expect_more_rows,
    extend_observed,
    refuse_few,
)
from amortppl.errors import DataError
from amortppl.runtime.arguments import expect_seed, expect_whole
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import jit_lightly, jit_unoptimized
from amortppl.runtime.progress import Progress
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.simulate import TASKS_PER_CALL

if TYPE_CHECKING:
    from amortppl.data.dataset import Dataset

LEVELS = (0.25, 0.75)
"""Quantiles of the task's numbers of rows at which datasets are simulated."""

RUNS = 20
"""Calls to the inference, each of more runs, to have draws given an observed dataset."""


def measure_inference(
    task: AbstractTask,
    inference: Inference,
    datasets: int,
    draws: int,
    seed: int,
    rows: int | Sequence[int] | None = None,
    around: "Dataset | None" = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    only: np.ndarray | None = None,
) -> Measured:
    """Infers simulated datasets and compares the draws with the latents that made these.

    Args:
        task: the task.
        inference: what is measured.
        datasets: T, at least 20.
        draws: S for each, at least 20, before thinning.
        seed: of simulations and inferences.
        rows: numbers of rows to simulate; by default two quantiles of the task's own.
        around: an observed dataset (posterior simulation-based calibration).
        checkpoint: a file that keeps what is done, and from which it continues.
        progress: whether to report.
        only: places of the datasets to infer; all others have no draws.

    Raises:
        DataError: too few datasets or draws, too few of them finite, or the checkpoint is of
            another run.
    """
    refuse_few(datasets, draws)
    expect_seed(seed)
    key = seed_key(seed)
    if around is None:
        groups = simulate_sizes(task, jr.fold_in(key, 0), datasets, sizes(task, rows))
    else:
        groups = _simulate_around(task, inference, jr.fold_in(key, 0), datasets, draws, around)
    about = _identity(task, inference, datasets, draws, seed, groups)
    store = Store(groups, task.latents.size, checkpoint, about)
    store.wanted = np.isin(np.arange(len(store.done)), only) if only is not None else ~store.done
    truth = np.concatenate([g.truth for g in groups])
    scale, others = truth.std(0) + 1e-12, np.roll(truth, 1, 0)
    ties = np.random.default_rng(seed % 2**64).uniform(1e-6, 1.0, (len(truth), truth.shape[1] + 3))
    with Progress("datasets", len(truth), f"{inference.name} on {task.name}", progress) as bar:
        start = 0
        for group in groups:
            _measure_group(
                task, inference, group, start, store, (others, scale, ties), key, draws, bar
            )
            start += len(group.truth)
    return store.result(truth)


def sizes(task: AbstractTask, rows: int | Sequence[int] | None) -> list[int]:
    """Numbers of rows to simulate.

    Raises:
        DataError: numbers for a block, or none.
    """
    if task.block:
        if rows is not None:
            raise DataError(f"rows: {task.name} is one block of fixed size")
        return [1]
    if rows is None:
        low, high = task.rows
        return sorted({round(low * (high / low) ** level) for level in LEVELS})
    wanted = [rows] if isinstance(rows, int | np.integer) else list(rows)
    if not wanted:
        raise DataError("rows: expected at least one number of rows, got none")
    for number in wanted:
        expect_whole("rows", number, 1)
    return sorted({int(n) for n in wanted})


def simulate_sizes(
    task: AbstractTask, key: Array, datasets: int, wanted: Sequence[int]
) -> list[Simulated]:
    """About equally many datasets of each number of rows, without those that are not finite.

    Raises:
        DataError: most are not finite.
    """
    groups, lost = [], 0
    for i, rows in enumerate(wanted):
        count = datasets // len(wanted) + (i < datasets % len(wanted))
        data, truth = _simulate(task, jr.split(jr.fold_in(key, i), count), rows)
        data, truth = jax.tree.map(np.asarray, (data, truth))
        fine = np.isfinite(truth).all(1)
        for values in data.values():
            fine &= np.isfinite(values).reshape(count, -1).all(1)
        lost += int(np.sum(~fine))
        groups.append(Simulated({n: v[fine] for n, v in data.items()}, truth[fine], rows))
    if lost > datasets / 2:
        raise DataError(
            f"calibrate: {lost} of {datasets} simulated datasets are not finite; a narrower prior, "
            "or a link that cannot overflow, is the usual cure"
        )
    return [g for g in groups if len(g.truth)]


@jit_unoptimized
def _simulate(task: AbstractTask, keys: Array, rows: int) -> tuple[dict[str, Array], Array]:
    draws = batched_map(lambda k: task.simulate(k, rows), keys, TASKS_PER_CALL)
    return draws.data, draws.latents


def _simulate_around(
    task: AbstractTask,
    inference: Inference,
    key: Array,
    datasets: int,
    draws: int,
    observed: "Dataset",
) -> list[Simulated]:
    """The observed rows with as many predicted ones, by draws of the inference's own posterior."""
    expect_more_rows(task)
    pool = _posterior_draws(inference, jr.fold_in(key, 1), datasets, draws, observed)
    vectors = jnp.asarray(pool[np.random.default_rng(0).permutation(len(pool))[:datasets]])
    batch, truth, usable = extend_observed(task, key, vectors, observed)
    fine = {n: np.asarray(v)[usable] for n, v in batch.data.items()}
    return [Simulated(fine, np.asarray(truth)[usable], 2 * observed.rows)]


def _posterior_draws(
    inference: Inference, key: Array, datasets: int, draws: int, observed: "Dataset"
) -> np.ndarray:
    """At least T different draws given the observed dataset, by as many runs as that takes."""
    data = {n: np.asarray(v)[None] for n, v in observed.arrays.items()}
    parts, copies = [], 1
    for i in range(RUNS):
        same = {n: np.repeat(v, copies, 0) for n, v in data.items()}
        keys = jr.split(jr.fold_in(key, i), copies)
        answers = inference.run(same, keys, max(draws, datasets))
        parts += [v[:k] for v, k in zip(answers.vectors, answers.kept, strict=True)]
        total = sum(map(len, parts))
        if total >= datasets:
            return np.concatenate(parts)
        each = max(total // len(parts), 1)
        copies = min(inference.together, -(-(datasets - total) // each))
    problem = next(filter(None, answers.problems), "its draws are too dependent")
    raise DataError(
        f"around: expected {datasets} draws from {inference.name} given these data, got {total} in "
        f"{RUNS} calls: {problem}"
    )


def _identity(
    task: AbstractTask,
    inference: Inference,
    datasets: int,
    draws: int,
    seed: int,
    groups: list[Simulated],
) -> dict[str, Any]:
    """What a checkpoint must agree with."""
    digest = sha256()
    for group in groups:
        digest.update(np.ascontiguousarray(group.truth).tobytes())
    own = [task.fingerprint, inference.name, inference.settings, datasets, draws, seed]
    return {KIND: [*own, [g.rows for g in groups], digest.hexdigest()[:16]]}


def _measure_group(
    task: AbstractTask,
    inference: Inference,
    group: Simulated,
    start: int,
    store: Store,
    shared: tuple[np.ndarray, np.ndarray, np.ndarray],
    key: Array,
    draws: int,
    bar: Progress,
) -> None:
    """Infers and measures the datasets of one shape, as many at once as the inference takes."""
    others, scale, ties = shared
    keys = jr.split(jr.fold_in(key, 7 + group.rows), len(group.truth))
    todo = np.flatnonzero(store.wanted[start : start + len(group.truth)])
    size = min(inference.together, len(todo))
    for first in range(0, len(todo), size or 1):
        places = np.resize(todo[first : first + size], size)  # the last call is filled up
        own = start + todo[first : first + size]
        data = {n: v[places] for n, v in group.data.items()}
        answers = inference.run(data, keys[places], draws)
        at = start + places
        ranks = _rank(
            task, data, answers.vectors, answers.kept, group.truth[places], others[at], scale,
            ties[at],
        )  # fmt: skip
        store.put(own, answers, jax.tree.map(np.asarray, ranks))
        bar.update(int(store.done.sum()), f"{sum(map(bool, store.problems))} with problems")


@jit_lightly
def _rank(
    task: AbstractTask,
    data: dict[str, Array],
    vectors: Array,
    kept: Array,
    truth: Array,
    others: Array,
    scale: Array,
    ties: Array,
) -> tuple[Array, ...]:
    """Fields of `Measurements` from `mean` on, of T datasets."""
    unknown = jnp.full(vectors.shape[1], jnp.nan)

    def one(data: dict, vectors: Array, kept: Array, truth: Array, other: Array, ties: Array):
        batch = Batch(data, jnp.ones(len(next(iter(data.values()))), bool))
        drawn = Posterior(vectors, jnp.arange(len(vectors)) < kept, unknown, unknown[0])
        return rank_truth(task, batch, drawn, truth, other, scale, ties.astype(jnp.float32))

    each = (data, vectors, kept, truth, others, ties)
    return batched_map(lambda a: one(*a), each, 64)
