"""Mean and standard deviation of what every row has of its own, without draws of it.

    E v_i = 1/S sum_s m_i(theta_s),    Var v_i = 1/S sum_s V_i(theta_s) + Var_s m_i(theta_s)

with m_i and V_i the mean and variance of v_i given the shared latents, v_i a site's values of row i. These are by the quadrature that integrates the row's latents out
(`amortppl.task.quadrature`); where rows have more than three numbers, by importance sampling. Rows
go through in chunks, so that memory does not grow with them.

Of many rows not all draws of the shared latents are used: these hardly differ then. The standard
error that is left follows from how much m_i differs between draws.
"""

from functools import partial
from math import ceil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from amortppl.data.dataset import Dataset
from amortppl.posterior.local_draws import pad_part, proposals
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.quadrature import NODES, ModeAndScale, heights, product_rule

PAIRS, FEWEST = 1 << 22, 32
"""Rows times draws of the shared latents, and the draws that are always used."""

ROWS, WORK = 1024, 1 << 18
"""Rows of a chunk, and densities evaluated at once."""


class Moments(NamedTuple):
    """Moments of a site with one value per row, in the shape of its values.

    Attributes:
        mean: the mean.
        sd: the standard deviation.
        error: the mean's standard error, of draws of the shared latents that were left out.
    """

    mean: np.ndarray
    sd: np.ndarray
    error: np.ndarray


def local_moments(
    task: AbstractTask, vectors: Float[Array, "S P"], dataset: Dataset, seed: int
) -> dict[str, Moments]:
    """Moments of every row's own sites, given draws of the shared latents.

    Args:
        task: a task with local latents, whose rows are independent.
        vectors: the draws, unconstrained.
        dataset: the rows.
        seed: of proposals, where rows have more than three numbers.
    """
    used = np.asarray(thin(vectors, dataset.rows))
    left_out = len(used) < len(vectors)
    size = ceil(dataset.rows / ceil(dataset.rows / ROWS))  # all are padded alike
    starts = range(0, dataset.rows, size)
    parts = [_of_chunk(task, used, dataset, start, size, seed) for start in starts]
    sites = {}
    for name, axis in task.local.axes.items():
        mean, sd, spread = (np.concatenate([p[name][i] for p in parts], axis) for i in range(3))
        sites[name] = Moments(mean, sd, spread * left_out / np.sqrt(len(used)))
    return sites


def thin(vectors: Float[Array, "S P"], rows: int) -> Float[Array, "K P"]:
    """Draws evenly spaced among all, at least `FEWEST`, and all where the rows are few."""
    count = min(len(vectors), max(FEWEST, PAIRS // rows))
    return vectors[np.linspace(0, len(vectors) - 1, count).astype(int)]


def _of_chunk(
    task: AbstractTask, vectors: Array, dataset: Dataset, start: int, size: int, seed: int
) -> dict[str, Moments]:
    batch, rows = pad_part(task, dataset, start, size)
    at_once = max(1, WORK // (batch.mask.shape[0] * task.evaluations(batch.data)))
    values = _moments(task, vectors, batch.data, fold_in(seed_key(seed), start), at_once)
    places = np.arange(rows)
    return {
        n: Moments(*(np.asarray(a).take(places, task.local.axes[n]) for a in v))
        for n, v in values.items()
    }


@partial(jax.jit, static_argnums=(0, 4))
def _moments(
    task: AbstractTask, vectors: Array, data: dict[str, Array], key: Array, at_once: int
) -> dict[str, Moments]:
    """Mean, sd, and the sd between draws of the mean, of each site."""
    keys = jr.split(key, len(vectors))
    each = batched_map(lambda a: _given(task, a[0], data, a[1]), (vectors, keys), at_once)

    def together(means: Array, variances: Array) -> Moments:
        between = jnp.var(means, 0)
        variance = jnp.mean(variances, 0) + between
        return Moments(jnp.mean(means, 0), jnp.sqrt(variance), jnp.sqrt(between))

    return {n: together(*both) for n, both in each.items()}


def _given(
    task: AbstractTask, vector: Array, data: dict[str, Array], key: Array
) -> dict[str, tuple[Array, Array]]:
    """Mean and variance of each site given the shared latents."""

    def rows(local: Array) -> Array:
        return task.local.joint(vector, data, local)[1]

    near = task.local.find_modes(vector, data)
    points, log_weights = _nodes(near, key)
    weights = jax.nn.softmax(heights(rows, near, points) + log_weights, 0)

    def values(point: Array) -> dict[str, Array]:
        local = task.local.unflatten(near.at(point))
        trace = task.trace_at(vector, data, local)
        return {n: jnp.asarray(trace[n]["value"], vector.dtype) for n in task.local.shown}

    at_nodes = jax.vmap(values)(points)
    return {n: _average(weights, v, task.local.axes[n]) for n, v in at_nodes.items()}


def _nodes(near: ModeAndScale, key: Array) -> tuple[Array, Array]:
    """Nodes (K, N, L) or (K, L), and their log weights (K, 1) or (K, N)."""
    count, size = near.mode.shape
    if size not in NODES:
        return proposals(key, count, size)
    points, log_weights = product_rule(size, NODES[size])
    return jnp.asarray(points, near.mode.dtype), jnp.asarray(log_weights)[:, None]


def _average(
    weights: Float[Array, "K N"], values: Float[Array, "K ..."], axis: int
) -> tuple[Array, Array]:
    """Weighted mean and variance over K nodes of values with the rows along `axis`."""
    rows_last = jnp.moveaxis(values, axis + 1, -1)
    each = weights.reshape(len(weights), *[1] * (rows_last.ndim - 2), weights.shape[1])
    mean = jnp.sum(each * rows_last, 0)
    variance = jnp.sum(each * (rows_last - mean) ** 2, 0)
    return jnp.moveaxis(mean, -1, axis), jnp.moveaxis(variance, -1, axis)
