"""What a guide computes of datasets in memory: padded to few shapes, batched, compiled once for each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.data import Dataset
from amortppl.errors import DataError
from amortppl.method import Method, final
from amortppl.task import Batch, Task
from amortppl.tied import ahead, left_out

WORK = 4_000_000
"""Draws times rows evaluated at once: bounds the memory of log densities at many draws."""


class Drawn(NamedTuple):
    """Draws of a batch of T datasets: unconstrained vectors (T, S, P), log q and log joint (T, S), and what
    the method saw of each (T, F)."""

    vectors: Array
    log_guide: Array
    log_joint: Array
    features: Array


def padded(task: Task, dataset: Dataset) -> Batch:
    """A dataset padded to the next power of two, so that few shapes are ever compiled."""
    rows = dataset.rows
    size = max(8, 1 << (rows - 1).bit_length()) if task.row_free else rows
    pad = {n: np.concatenate([v, np.repeat(v[:1], size - rows, 0)]) for n, v in dataset.arrays.items()}
    return Batch(pad, np.arange(size) < rows)


def queries(method: Method, dataset: Dataset) -> dict[str, Array] | None:
    """The inputs of new rows, padded, where a method's states belong to queries; None where they serve any."""
    if not method.queries_first:
        return None
    batch = padded(method.task, dataset)
    inputs = {n: batch.data[n] for n in method.task.inputs}
    return inputs or {"row": np.zeros((len(batch.mask), 0), np.float32)}


def shapes(task: Task, datasets: Sequence[Dataset]) -> dict[int, list[int]]:
    """Places of the datasets by the number of rows that they are padded to."""
    found: dict[int, list[int]] = {}
    for place, dataset in enumerate(datasets):
        found.setdefault(padded(task, dataset).mask.shape[0], []).append(place)
    return found


def stacked(task: Task, datasets: Sequence[Dataset], places: Sequence[int]) -> Batch:
    """Datasets of one shape as a batch with a leading axis."""
    return jax.tree.map(lambda *a: np.stack(a), *(padded(task, datasets[i]) for i in places))


def mapped(function: Callable[[Any], Any], many: Any, at_once: int) -> Any:
    """`function` of each of many (a tree with a leading axis), at most `at_once` together.

    As `lax.map`, which compiles the function a second time for what is left over: here the number taken together
    divides the whole, if one does that is more than half of what is allowed.
    """
    total = len(jax.tree.leaves(many)[0])
    most = max(1, min(at_once, total))
    size = next((n for n in range(most, most // 2, -1) if total % n == 0), None)
    if size is None:
        return jax.lax.map(function, many, batch_size=most)
    if size == total:
        return jax.vmap(function)(many)
    parts = jax.tree.map(lambda a: a.reshape(total // size, size, *a.shape[1:]), many)
    return jax.tree.map(lambda a: a.reshape(total, *a.shape[2:]), jax.lax.map(jax.vmap(function), parts))


def draw(method: Method, datasets: Sequence[Dataset], draws: int, seed: int) -> Drawn:
    """Draws for each dataset; datasets padded to equal shapes share one batched call.

    Raises:
        DataError: less than one draw.
    """
    if draws < 1:
        raise DataError(f"draws: expected at least 1, got {draws}")
    keys = jr.split(jr.key(seed), len(datasets))
    found: dict[int, Drawn] = {}
    for rows, places in shapes(method.task, datasets).items():
        batches = stacked(method.task, datasets, places)
        drawn = posteriors(method, batches, keys[np.array(places)], draws, WORK // rows)
        drawn = [np.asarray(a) for a in drawn]
        found |= {i: Drawn(*(a[j] for a in drawn)) for j, i in enumerate(places)}
    return Drawn(*(np.stack([found[i][k] for i in range(len(datasets))]) for k in range(4)))


def pointwise(method: Method, vectors: Any, dataset: Dataset) -> np.ndarray:
    """Log likelihood of each row at each draw, (S, N); of rows tied to one another, given all the others."""
    if method.task.tied:
        size = WORK // dataset.rows**2
        return np.asarray(_left_out(method.task, jnp.asarray(vectors), dict(dataset.arrays), size))
    batch = padded(method.task, dataset)
    size = WORK // batch.mask.shape[0]
    return np.asarray(_pointwise(method, vectors, batch.data, size))[:, : dataset.rows]


def predicted(method: Method, vectors: Any, dataset: Dataset, seed: int) -> dict[str, np.ndarray]:
    """Predictive draws of every observation, (S, N, ...) by argument."""
    batch = padded(method.task, dataset)
    rows = batch.mask.shape[0]
    inputs = {n: batch.data[n] for n in method.task.inputs}
    keys = jr.split(jr.fold_in(jr.key(seed), 1), len(vectors))
    drawn = _predicted(method, vectors, inputs, keys, rows, WORK // rows)
    return {n: np.asarray(v)[:, : dataset.rows] for n, v in drawn.items()}


def pointwise_ahead(task: Task, vectors: Any, known: Dataset, new: Dataset) -> np.ndarray:
    """Log density of each new row at each draw, (S, N_new), given known rows to which it is tied."""
    given, query, size = _ahead(task, vectors, known, new)
    return np.asarray(_pointwise_ahead(task, jnp.asarray(vectors), given, query, size))[:, : new.rows]


def predicted_ahead(task: Task, vectors: Any, known: Dataset, new: Dataset, seed: int) -> dict[str, np.ndarray]:
    """Predictive draws of new rows together, (S, N_new) by argument, given known rows to which they are tied."""
    given, query, size = _ahead(task, vectors, known, new)
    keys = jr.split(jr.fold_in(jr.key(seed), 1), len(vectors))
    drawn = _predicted_ahead(task, jnp.asarray(vectors), keys, given, query, size)
    return {n: np.asarray(v)[:, : new.rows] for n, v in drawn.items()}


def _ahead(task: Task, vectors: Any, known: Dataset, new: Dataset) -> tuple[Batch, dict[str, Array], int]:
    """Known rows, new rows, and how many draws to take at once. Without inputs rows have a place, so none is padded."""
    given = padded(task, known) if task.inputs else Batch(dict(known.arrays), np.ones(known.rows, bool))
    query = padded(task, new).data if task.inputs else new.arrays
    whole = given.mask.shape[0] + len(next(iter(query.values())))
    return given, query, WORK // whole**2


def constrained(method: Method, vectors: Any, dataset: Dataset) -> dict[str, np.ndarray]:
    """Latents and deterministic sites at each draw, by name."""
    one = {n: v[:1] for n, v in dataset.arrays.items()} if method.task.row_free else dataset.arrays
    return {n: np.asarray(v) for n, v in _constrained(method, vectors, one).items()}


def log_prob(method: Method, dataset: Dataset, latents: Mapping[str, Any]) -> np.ndarray:
    """Log density of latents, in their own space, under the posterior of a dataset; their leading shape stays."""
    task = method.task
    values = {n: jnp.asarray(latents[n], jnp.float32) for n in task.latents.names}
    first = task.latents.names[0]
    lead = values[first].shape[: values[first].ndim - len(task.latents.shapes[first])]
    flat = {n: v.reshape(-1, *task.latents.shapes[n]) for n, v in values.items()}
    return np.asarray(_log_prob(method, padded(task, dataset), flat)).reshape(lead)


step = eqx.filter_jit(lambda method, value, batch: method.step(value, batch))
"""One step of a method, compiled."""

readout = eqx.filter_jit(lambda method, value: method.readout(value))
"""A method's readout, compiled."""


def posteriors(method: Method, batches: Batch, keys: Array, draws: int, size: int) -> Drawn:
    """Draws of a batch of datasets of one shape, their log joint evaluated for `size` draws at once."""
    return sampled(method, states(method, batches), batches, keys, draws, size)


@eqx.filter_jit
def states(method: Method, batches: Batch) -> Any:
    """The states of a batch of datasets of one shape: the most to compile, and the same for any number of draws."""
    return jax.vmap(lambda batch: final(method, batch))(batches)


@eqx.filter_jit
def sampled(method: Method, values: Any, batches: Batch, keys: Array, draws: int, size: int) -> Drawn:
    """Draws from the states of a batch of datasets."""

    def one(state: Any, batch: Batch, key: Array) -> Drawn:
        vectors, log_guide = method.readout(state).sample(key, draws)
        if not method.task.has_density:
            return Drawn(vectors, log_guide, jnp.full(draws, jnp.nan), method.impression(state))
        joint = mapped(lambda v: method.task.log_joint(v, batch), vectors, size)
        return Drawn(vectors, log_guide, joint, method.impression(state))

    return jax.vmap(one)(values, batches, keys)


@eqx.filter_jit
def _pointwise(method: Method, vectors: Array, data: dict[str, Array], size: int) -> Array:
    return mapped(lambda v: method.task.log_densities(v, data)[1], jnp.asarray(vectors), size)


@eqx.filter_jit
def _predicted(
    method: Method, vectors: Array, inputs: dict[str, Array], keys: Array, rows: int, size: int
) -> dict[str, Array]:
    return mapped(lambda a: method.task.predict(a[1], a[0], inputs, rows), (jnp.asarray(vectors), keys), size)


@eqx.filter_jit
def _left_out(task: Task, vectors: Array, data: dict[str, Array], size: int) -> Array:
    return mapped(lambda v: left_out(task, v, data), vectors, size)


@eqx.filter_jit
def _pointwise_ahead(task: Task, vectors: Array, known: Batch, query: dict[str, Array], size: int) -> Array:
    def one(vector: Array) -> Array:
        return sum(g.log_prob(query[a]) for a, g in ahead(task, vector, known, query).items())

    return mapped(one, vectors, size)


@eqx.filter_jit
def _predicted_ahead(
    task: Task, vectors: Array, keys: Array, known: Batch, query: dict[str, Array], size: int
) -> dict[str, Array]:
    def one(at: tuple[Array, Array]) -> dict[str, Array]:
        given = ahead(task, at[0], known, query)
        return {a: g.sample(jr.fold_in(at[1], i)) for i, (a, g) in enumerate(given.items())}

    return mapped(one, (vectors, keys), size)


@eqx.filter_jit
def _constrained(method: Method, vectors: Array, data: dict[str, Array]) -> dict[str, Array]:
    return jax.vmap(lambda v: method.task.constrain(v, data))(jnp.asarray(vectors))


@eqx.filter_jit
def _log_prob(method: Method, batch: Batch, values: dict[str, Array]) -> Array:
    posterior = method.readout(final(method, batch))

    def one(sites: dict[str, Array]) -> Array:
        vector = method.task.unconstrain(sites, batch.data)
        return posterior.log_prob(vector) - sum(method.task.sites_at(vector, batch.data)[1].values())

    return jax.vmap(one)(values)
