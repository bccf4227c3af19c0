"""Log likelihood by row and draws of observations, given draws of the latents."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.method import Method
from amortppl.posterior.draws import WORK
from amortppl.posterior.new_rows import leave_one_out, new_rows
from amortppl.posterior.padding import pad
from amortppl.runtime.batched_map import batched_map
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


def pointwise(method: Method, vectors: Any, dataset: Dataset) -> np.ndarray:
    """Log likelihood of each row at each draw, (S, N); of rows tied to one another, given all the
    others.
    """
    if method.task.tied:
        size = WORK // dataset.rows**2
        return np.asarray(
            _leave_one_out(method.task, jnp.asarray(vectors), dict(dataset.arrays), size)
        )
    batch = pad(method.task, dataset)
    size = WORK // batch.mask.shape[0]
    return np.asarray(_pointwise(method, vectors, batch.data, size))[:, : dataset.rows]


def predict(method: Method, vectors: Any, dataset: Dataset, seed: int) -> dict[str, np.ndarray]:
    """Predictive draws of every observation, (S, N, ...) by argument."""
    batch = pad(method.task, dataset)
    rows = batch.mask.shape[0]
    inputs = {n: batch.data[n] for n in method.task.inputs}
    keys = jr.split(jr.fold_in(jr.key(seed), 1), len(vectors))
    drawn = _predict(method, vectors, inputs, keys, rows, WORK // rows)
    return {n: np.asarray(v)[:, : dataset.rows] for n, v in drawn.items()}


def pointwise_new_rows(
    task: AbstractTask, vectors: Any, known: Dataset, new: Dataset
) -> np.ndarray:
    """Log density of each new row at each draw, (S, N_new), given known rows to which it is
    tied.
    """
    given, query, size = _batched_new_rows(task, vectors, known, new)
    return np.asarray(_pointwise_new_rows(task, jnp.asarray(vectors), given, query, size))[
        :, : new.rows
    ]


def predict_new_rows(
    task: AbstractTask, vectors: Any, known: Dataset, new: Dataset, seed: int
) -> dict[str, np.ndarray]:
    """Predictive draws of new rows together, (S, N_new) by argument, given known rows to which they
    are tied.
    """
    given, query, size = _batched_new_rows(task, vectors, known, new)
    keys = jr.split(jr.fold_in(jr.key(seed), 1), len(vectors))
    drawn = _predict_new_rows(task, jnp.asarray(vectors), keys, given, query, size)
    return {n: np.asarray(v)[:, : new.rows] for n, v in drawn.items()}


def _batched_new_rows(
    task: AbstractTask, vectors: Any, known: Dataset, new: Dataset
) -> tuple[Batch, dict[str, Array], int]:
    """Known rows, new rows, and how many draws to take at once. Without inputs rows have a place,
    so none is padded.
    """
    given = (
        pad(task, known) if task.inputs else Batch(dict(known.arrays), np.ones(known.rows, bool))
    )
    query = pad(task, new).data if task.inputs else new.arrays
    whole = given.mask.shape[0] + len(next(iter(query.values())))
    return given, query, WORK // whole**2


@eqx.filter_jit
def _pointwise(method: Method, vectors: Array, data: dict[str, Array], size: int) -> Array:
    return batched_map(lambda v: method.task.log_densities(v, data)[1], jnp.asarray(vectors), size)


@eqx.filter_jit
def _predict(
    method: Method, vectors: Array, inputs: dict[str, Array], keys: Array, rows: int, size: int
) -> dict[str, Array]:
    return batched_map(
        lambda a: method.task.predict(a[1], a[0], inputs, rows), (jnp.asarray(vectors), keys), size
    )


@eqx.filter_jit
def _leave_one_out(task: AbstractTask, vectors: Array, data: dict[str, Array], size: int) -> Array:
    return batched_map(lambda v: leave_one_out(task, v, data), vectors, size)


@eqx.filter_jit
def _pointwise_new_rows(
    task: AbstractTask, vectors: Array, known: Batch, query: dict[str, Array], size: int
) -> Array:
    def one(vector: Array) -> Array:
        return sum(g.log_prob(query[a]) for a, g in new_rows(task, vector, known, query).items())

    return batched_map(one, vectors, size)


@eqx.filter_jit
def _predict_new_rows(
    task: AbstractTask,
    vectors: Array,
    keys: Array,
    known: Batch,
    query: dict[str, Array],
    size: int,
) -> dict[str, Array]:
    def one(at: tuple[Array, Array]) -> dict[str, Array]:
        given = new_rows(task, at[0], known, query)
        return {a: g.sample(jr.fold_in(at[1], i)) for i, (a, g) in enumerate(given.items())}

    return batched_map(one, (vectors, keys), size)
