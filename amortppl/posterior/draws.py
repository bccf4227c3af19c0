"""Draws and log densities of datasets in memory.

Datasets are padded to few shapes, batched, and compiled once for each shape.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.errors import DataError
from amortppl.method import Method, final
from amortppl.posterior.padding import group_by_shape, pad, stack
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import Compiled
from amortppl.task.batch import Batch

WORK = 4_000_000
"""Draws times rows evaluated at once, which bounds the memory of log densities at many draws."""


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


def draw(method: Method, datasets: Sequence[Dataset], draws: int, seed: int) -> Drawn:
    """S draws for each of T datasets.

    Datasets padded to equal shapes share one batched call.

    Raises:
        DataError: less than one draw.
    """
    if draws < 1:
        raise DataError(f"draws: expected at least 1, got {draws}")
    keys = jr.split(jr.key(seed), len(datasets))
    by_place: dict[int, Drawn] = {}
    for rows, places in group_by_shape(method.task, datasets).items():
        batches = stack(method.task, datasets, places)
        drawn = posteriors(method, batches, keys[np.array(places)], draws, WORK // rows)
        drawn = [np.asarray(a) for a in drawn]
        by_place |= {i: Drawn(*(a[j] for a in drawn)) for j, i in enumerate(places)}
    return Drawn(*(np.stack([by_place[i][k] for i in range(len(datasets))]) for k in range(4)))


def constrain(method: Method, vectors: Any, dataset: Dataset) -> dict[str, np.ndarray]:
    """Latents and deterministic sites by name, (S, ...), at unconstrained vectors (S, P)."""
    one = {n: v[:1] for n, v in dataset.arrays.items()} if method.task.row_free else dataset.arrays
    return {n: np.asarray(v) for n, v in _constrain(method, vectors, one).items()}


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
    return np.asarray(_log_prob(method, pad(task, dataset), flat)).reshape(lead)


@Compiled
def step(method: Method, value: Any, batch: Batch) -> Any:
    """One step of a method."""
    return method.step(value, batch)


@Compiled
def readout(method: Method, value: Any) -> Any:
    """A method's readout."""
    return method.readout(value)


def posteriors(method: Method, batches: Batch, keys: Array, draws: int, size: int) -> Drawn:
    """S draws for each dataset of a batch of one shape.

    The log joint is evaluated at `size` draws at once.
    """
    return sample(method, states(method, batches), batches, keys, draws, size)


@Compiled
def states(method: Method, batches: Batch) -> Any:
    """The states of a batch of datasets of one shape.

    A program apart from `sample`: it takes longest to compile and serves any number of draws.
    """
    return jax.vmap(lambda batch: final(method, batch))(batches)


@Compiled
def sample(
    method: Method, values: Any, batches: Batch, keys: Array, draws: int, size: int
) -> Drawn:
    """S draws from the state of each dataset of a batch."""

    def one(state: Any, batch: Batch, key: Array) -> Drawn:
        vectors, log_guide = method.readout(state).sample(key, draws)
        if not method.task.has_density:
            return Drawn(vectors, log_guide, jnp.full(draws, jnp.nan), method.summary(state))
        joint = batched_map(lambda v: method.task.log_joint(v, batch), vectors, size)
        return Drawn(vectors, log_guide, joint, method.summary(state))

    return jax.vmap(one)(values, batches, keys)


@Compiled
def _constrain(method: Method, vectors: Array, data: dict[str, Array]) -> dict[str, Array]:
    return jax.vmap(lambda v: method.task.constrain(v, data))(jnp.asarray(vectors))


@Compiled
def _log_prob(method: Method, batch: Batch, values: dict[str, Array]) -> Array:
    posterior = method.readout(final(method, batch))

    def one(sites: dict[str, Array]) -> Array:
        vector = method.task.unconstrain(sites, batch.data)
        return posterior.log_prob(vector) - sum(
            method.task.sites_at(vector, batch.data)[1].values()
        )

    return jax.vmap(one)(values)
