"""Draws and log densities of datasets in memory.

Datasets are padded to few shapes, batched, and compiled once for each shape.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.errors import DataError
from amortppl.gaussian.log_density import log_joint
from amortppl.method import Method, final
from amortppl.posterior.expanded_joint import is_cheaper, log_joints
from amortppl.posterior.padding import chunks, pad
from amortppl.runtime.batched_map import batched_map, map_datasets
from amortppl.runtime.compilation import (
    LIGHT,
    Compiled,
    Options,
    compile_with,
    few_optimizations,
)
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

WORK = 4_000_000
"""Draws times rows evaluated at once, which bounds the memory of log densities at many draws."""

INTEGRALS = 1 << 18
"""The same where rows have latents of their own: a search and a quadrature pass over their numbers
some fifty times, which a processor's cache should hold."""

SMALL, FEW_DENSITIES = 1 << 14, 1 << 20
"""Rows times latents up to which the program of one dataset's state is not optimized, and draws
times rows up to which that of its draws is not: at 4096 x 6 and 1000 x 4096 they take 31 instead of
18 ms, and 27 instead of 9."""


class Drawn(NamedTuple):
    """Draws of a batch of T datasets.

    Attributes:
        vectors: unconstrained latents, (T, S, P).
        log_guide: log q(theta_s | D), (T, S).
        log_joint: log p(theta_s, D), (T, S); NaN for a task without a density.
        features: the method's summary of each dataset, (T, F).
    """

    vectors: Array
    log_guide: Array
    log_joint: Array
    features: Array


def draw(
    method: Method,
    datasets: Sequence[Dataset],
    draws: int,
    seed: int,
    numbers: np.ndarray | None = None,
    together: int | None = None,
    joint: bool = True,
) -> Drawn:
    """S draws for each of T datasets.

    Datasets padded to equal shapes share one batched call.

    Args:
        method: the trained method.
        datasets: T datasets.
        draws: S.
        seed: of all draws.
        numbers: of the datasets, which their random keys are made from, (T,); by default 0, 1, ...
        together: datasets in one compiled call, see `chunks`.
        joint: whether log joints are wanted; else they are NaN.

    Raises:
        DataError: less than one draw.
    """
    if draws < 1:
        raise DataError(f"draws: expected at least 1, got {draws}")
    numbers = np.arange(len(datasets), dtype=np.uint32) if numbers is None else numbers
    results = [np.zeros(0)] * 4
    for chunk in chunks(method.task, datasets, together):
        values = states(method, chunk.batch)
        keys = fold_in(seed_key(seed), numbers[chunk.index])
        each = (_sample if joint else _sample_alone)(method, values, chunk.batch, keys, draws)
        drawn = chunk.pick(tuple(each))
        if not len(results[0]):
            results = [np.empty((len(datasets), *a.shape[1:]), a.dtype) for a in drawn]
        for result, part in zip(results, drawn, strict=True):
            result[chunk.places] = part
    return Drawn(*results)


def _sample(method: Method, values: Any, batch: Batch, keys: Array, draws: int) -> Drawn:
    """Draws from each state; of many rows in one dataset by `amortppl.posterior.expanded_joint`."""
    size, single = draws_at_once(method.task, batch), jax.tree.map(lambda a: a[0], batch)
    if len(keys) == 1 and is_cheaper(method.task, draws, int(np.sum(batch.mask)), single):
        drawn = sample(method, values, batch, keys, draws, None)
        joint = log_joints(method.task, drawn.vectors[0], single)
        if joint is not None:
            return drawn._replace(log_joint=joint[None])
    return sample(method, values, batch, keys, draws, size)


def _sample_alone(method: Method, values: Any, batch: Batch, keys: Array, draws: int) -> Drawn:
    return sample(method, values, batch, keys, draws, None)


def draws_at_once(task: AbstractTask, batch: Batch) -> int:
    """Draws at which the log density of a dataset, or of a batch of them, is evaluated at once."""
    work = INTEGRALS if task.local else WORK
    return work // (np.size(batch.mask) * task.evaluations(batch.data))


def constrain(method: Method, vectors: Any, dataset: Dataset) -> dict[str, np.ndarray]:
    """Latents and deterministic sites by name, (S, ...), at unconstrained vectors (S, P)."""
    return constrain_each(method, [vectors], [dataset])[0]


def constrain_each(
    method: Method,
    vectors: Sequence[Any],
    datasets: Sequence[Dataset],
    together: int | None = None,
) -> list[dict[str, np.ndarray]]:
    """Of each of T datasets its latents and deterministic sites by name, (S, ...)."""
    if method.task.row_free:  # no site of a latent's needs more than one row
        first = [{n: v[:1] for n, v in d.arrays.items()} for d in datasets]
        datasets = [d._replace(arrays=a) for d, a in zip(datasets, first, strict=True)]
    each: dict[int, dict[str, np.ndarray]] = {}
    for chunk in chunks(method.task, datasets, together):
        at = np.stack([vectors[i] for i in chunk.index])
        values = chunk.pick(_constrain(method, at, _trim(method, chunk.batch)))
        each |= {i: {n: v[j] for n, v in values.items()} for j, i in enumerate(chunk.places)}
    return [each[i] for i in range(len(datasets))]


def constrain_ahead(method: Method, vectors: Any, batch: Batch) -> None:
    """Begins to compile what `constrain_each` needs for a batch of datasets."""
    _constrain.compile_ahead(method, vectors, _trim(method, batch))


def _trim(method: Method, batch: Batch) -> dict[str, Array]:
    """The first row of each dataset alone, where rows are independent."""
    return {n: v[:, :1] for n, v in batch.data.items()} if method.task.row_free else batch.data


def log_prob(method: Method, dataset: Dataset, latents: Mapping[str, Any]) -> np.ndarray:
    """Log density of latents, in their own space, under the posterior of a dataset.

    Args:
        method: the method.
        dataset: the dataset.
        latents: values by site, all with the same leading shape, which the result has.
    """
    task = method.task
    values = {n: jnp.asarray(latents[n], jnp.float32) for n in task.latents.names}
    first = task.latents.names[0]
    lead = values[first].shape[: values[first].ndim - len(task.latents.shapes[first])]
    flat = {n: v.reshape(-1, *task.latents.shapes[n]) for n, v in values.items()}
    batch = pad(task, dataset)
    value = states(method, jax.tree.map(lambda a: a[None], batch))
    return np.asarray(_log_prob(method, value, batch.data, flat)).reshape(lead)


@Compiled
def step(method: Method, value: Any, batch: Batch) -> Any:
    """One step of a method."""
    return method.step(value, batch)


@Compiled
def readout(method: Method, value: Any) -> Any:
    """A method's readout."""
    return method.readout(value)


def _few_for_states(method: Method, batches: Batch) -> Options:
    datasets, rows = np.shape(batches.mask)
    if datasets > 1 and method.runs_once:
        return LIGHT
    each = method.task.evaluations(batches.data)
    return few_optimizations(datasets, rows * each * method.task.latents.size, SMALL)


@compile_with(_few_for_states)
def states(method: Method, batches: Batch) -> Any:
    """The states of a batch of datasets of one shape.

    A program apart from `sample`: it takes longest to compile and serves any number of draws.
    """
    return map_datasets(lambda batch: final(method, batch), batches)


def _few_for_draws(
    method: Method, values: Any, batches: Batch, keys: Array, draws: int, size: int | None
) -> Options:
    datasets, rows = np.shape(batches.mask)
    if not method.quick:
        return {}  # it searches for each dataset
    if datasets > 1 and method.runs_once:
        return LIGHT
    each = method.task.evaluations(batches.data)
    return few_optimizations(datasets, draws * rows * each, FEW_DENSITIES)


@compile_with(_few_for_draws)
def sample(
    method: Method, values: Any, batches: Batch, keys: Array, draws: int, size: int | None
) -> Drawn:
    """S draws from the state of each dataset of a batch of T.

    Args:
        method: the trained method.
        values, batches: state and rows of each dataset.
        keys: of each dataset, (T,).
        draws: S.
        size: draws at which the log joint of a dataset is evaluated at once; None to leave it out.
    """

    def one(state: Any, batch: Batch, key: Array) -> Drawn:
        vectors, log_guide = method.readout(state).sample(key, draws)
        if size is None or not method.task.has_density:
            return Drawn(vectors, log_guide, jnp.full(draws, jnp.nan), method.summary(state))
        joint = batched_map(lambda v: log_joint(method.task, v, batch), vectors, size)
        return Drawn(vectors, log_guide, joint, method.summary(state))

    if not method.quick:  # it searches for each dataset, and not for all as long as for one
        return batched_map(lambda a: one(*a), (values, batches, keys), 1)
    return map_datasets(one, values, batches, keys)


@Compiled
def _constrain(method: Method, vectors: Array, data: dict[str, Array]) -> dict[str, Array]:
    one = jax.vmap(method.task.constrain, in_axes=(0, None))
    return map_datasets(one, vectors, data)


@Compiled
def _log_prob(method: Method, value: Any, data: dict[str, Array], sites: dict[str, Array]) -> Array:
    posterior = method.readout(jax.tree.map(lambda a: a[0], value))

    def one(sites: dict[str, Array]) -> Array:
        vector = method.task.unconstrain(sites, data)
        return posterior.log_prob(vector) - sum(method.task.sites_at(vector, data)[1].values())

    return jax.vmap(one)(sites)
