"""Log likelihood by row and draws of observations, given draws of the latents."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.method import Method
from amortppl.posterior.draws import WORK, draws_at_once
from amortppl.posterior.new_rows import leave_one_out, new_rows
from amortppl.posterior.padding import pad
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import Compiled, Options, compile_with, few_optimizations
from amortppl.runtime.seeds import fold_in, seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


def pointwise(method: Method, vectors: Any, dataset: Dataset) -> np.ndarray:
    """Log likelihood of each row at each draw, (S, N).

    Of rows that are tied to one another, it is that of each given all the others.
    """
    if method.task.tied:
        size = WORK // dataset.rows**2
        return np.asarray(
            _leave_one_out(method.task, jnp.asarray(vectors), dict(dataset.arrays), size)
        )
    arguments = _of_pointwise(method, vectors, dataset)
    return np.asarray(_pointwise(*arguments))[:, : dataset.rows]


def predict(method: Method, vectors: Any, dataset: Dataset, seed: int) -> dict[str, np.ndarray]:
    """Predictive draws of every observation, (S, N, ...) by argument."""
    drawn = _predict(*_of_predict(method, vectors, dataset, seed))
    return {n: np.asarray(v)[:, : dataset.rows] for n, v in drawn.items()}


def compile_ahead(method: Method, vectors: Any, dataset: Dataset, keep: Sequence[bool]) -> None:
    """Begins to compile what `pointwise` and `predict` need, for draws (S, P) of one dataset.

    Args:
        method, vectors, dataset: as theirs; the numbers of the draws do not matter.
        keep: whether each of the two will be called.
    """
    if keep[0] and not method.task.tied:
        _pointwise.compile_ahead(*_of_pointwise(method, vectors, dataset))
    if keep[1] and not method.task.grouping:
        _predict.compile_ahead(*_of_predict(method, vectors, dataset, 0))


def _of_pointwise(
    method: Method, vectors: Any, dataset: Dataset
) -> tuple[Method, Any, dict[str, Array], int]:
    batch = pad(method.task, dataset)
    return method, vectors, batch.data, draws_at_once(method.task, batch)


def _of_predict(
    method: Method, vectors: Any, dataset: Dataset, seed: int
) -> tuple[Method, Any, dict[str, Array], Array, int, int]:
    batch = pad(method.task, dataset)
    rows = batch.mask.shape[0]
    inputs = {n: batch.data[n] for n in method.task.inputs}
    keys = split_key(fold_in(seed_key(seed), 1), len(vectors))
    return method, vectors, inputs, keys, rows, WORK // (rows * method.task.places(batch.data))


def pointwise_new_rows(task: AbstractTask, vectors: Any, seen: Dataset, new: Dataset) -> np.ndarray:
    """Log density of each new row at each draw, (S, N_new), given rows to which it is tied."""
    rows, query, size = _pad_both(task, seen, new)
    values = _pointwise_new_rows(task, jnp.asarray(vectors), rows, query, size)
    return np.asarray(values)[:, : new.rows]


def predict_new_rows(
    task: AbstractTask, vectors: Any, seen: Dataset, new: Dataset, seed: int
) -> dict[str, np.ndarray]:
    """Predictive draws of new rows, (S, N_new) by argument, given rows to which they are tied.

    The new rows of one draw are drawn together.
    """
    rows, query, size = _pad_both(task, seen, new)
    keys = split_key(fold_in(seed_key(seed), 1), len(vectors))
    drawn = _predict_new_rows(task, jnp.asarray(vectors), keys, rows, query, size)
    return {n: np.asarray(v)[:, : new.rows] for n, v in drawn.items()}


def _pad_both(
    task: AbstractTask, seen: Dataset, new: Dataset
) -> tuple[Batch, dict[str, Array], int]:
    """Rows seen, new rows, and how many draws to take at once.

    Without inputs rows have a place, so none is padded.
    """
    if task.inputs:
        rows, query = pad(task, seen), pad(task, new).data
    else:
        rows, query = Batch(dict(seen.arrays), np.ones(seen.rows, bool)), new.arrays
    whole = rows.mask.shape[0] + len(next(iter(query.values())))
    return rows, query, WORK // whole**2


PREDICTED = 1 << 16
"""Draws times rows up to which these programs are not optimized."""


def _few_for_rows(method: Method, vectors: Any, data: dict[str, Array], size: int) -> Options:
    rows, each = len(next(iter(data.values()))), method.task.evaluations(data)
    return few_optimizations(1, len(vectors) * rows * each, PREDICTED)


def _few_for_predictions(
    method: Method, vectors: Any, inputs: dict[str, Array], keys: Array, rows: int, size: int
) -> Options:
    return few_optimizations(1, len(vectors) * rows, PREDICTED)


@compile_with(_few_for_rows)
def _pointwise(method: Method, vectors: Array, data: dict[str, Array], size: int) -> Array:
    return batched_map(lambda v: method.task.log_densities(v, data)[1], jnp.asarray(vectors), size)


@compile_with(_few_for_predictions)
def _predict(
    method: Method, vectors: Array, inputs: dict[str, Array], keys: Array, rows: int, size: int
) -> dict[str, Array]:
    return batched_map(
        lambda a: method.task.predict(a[1], a[0], inputs, rows), (jnp.asarray(vectors), keys), size
    )


@Compiled
def _leave_one_out(task: AbstractTask, vectors: Array, data: dict[str, Array], size: int) -> Array:
    return batched_map(lambda v: leave_one_out(task, v, data), vectors, size)


@Compiled
def _pointwise_new_rows(
    task: AbstractTask, vectors: Array, seen: Batch, query: dict[str, Array], size: int
) -> Array:
    def one(vector: Array) -> Array:
        return sum(c.log_prob(query[a]) for a, c in new_rows(task, vector, seen, query).items())

    return batched_map(one, vectors, size)


@Compiled
def _predict_new_rows(
    task: AbstractTask,
    vectors: Array,
    keys: Array,
    seen: Batch,
    query: dict[str, Array],
    size: int,
) -> dict[str, Array]:
    def one(at: tuple[Array, Array]) -> dict[str, Array]:
        conditionals = new_rows(task, at[0], seen, query)
        return {a: c.sample(jr.fold_in(at[1], i)) for i, (a, c) in enumerate(conditionals.items())}

    return batched_map(one, (vectors, keys), size)
