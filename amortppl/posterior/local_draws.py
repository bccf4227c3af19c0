"""Draws of local latents given the shared ones.

    u_i ~ p(u_i | y_i, x_i, theta_s),    for every row i and draw s

One number a row is drawn by inverting its distribution function on a fine grid around the mode.
Several are drawn by sampling-importance-resampling from a multivariate Student-t around the mode.

Rubin 1988, "Using the SIR algorithm to simulate posterior distributions".
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from amortppl.data.dataset import Dataset
from amortppl.posterior.padding import pad
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.seeds import fold_in, seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.group_summary import lines_of_rows
from amortppl.task.path_latents import Path
from amortppl.task.quadrature import FINE, ModeAndScale, Rows, heights, product_rule

GRID, REACH = 193, 9.0
"""Points of a grid, and its reach to either side in sds.

Drawing evenly within a cell adds 0.0007 sd^2 to the variance."""

NODES, OVER = 41, 0.1
"""Points at which a group's density is evaluated, and nats by which the grid between them may lie
above both neighbours; 0.45 sds apart, a normal density is 0.025 higher in the middle.
"""

PROPOSALS, FREEDOM = 128, 4
"""Proposals for each draw of several numbers, and the degrees of freedom (even) of their t."""

ROWS, WORK = 4096, 1 << 18
"""Rows drawn at once, and numbers evaluated at once: as many as a processor's cache holds."""


class LocalDraws(NamedTuple):
    """Draws of what every row has of its own: unconstrained (S, N, L), and by site (S, ...)."""

    numbers: np.ndarray
    sites: dict[str, np.ndarray]


def draw_sites(task: AbstractTask, vectors: Array, dataset: Dataset, seed: int) -> LocalDraws:
    """Draws of a dataset's local latents given each of S unconstrained vectors (S, P)."""
    size = ROWS if task.independent else dataset.rows
    starts = range(0, dataset.rows, size)
    parts = [_part(task, vectors, dataset, start, size, seed) for start in starts]
    numbers = np.concatenate([p.numbers for p in parts], 1)
    axes = task.local.axes.items()
    return LocalDraws(
        numbers, {n: np.concatenate([p.sites[n] for p in parts], a + 1) for n, a in axes}
    )


def _part(
    task: AbstractTask, vectors: Array, dataset: Dataset, start: int, size: int, seed: int
) -> LocalDraws:
    """Draws for the rows from `start` on, at most `size` of them."""
    batch, count = pad_part(task, dataset, start, size)
    keys = split_key(fold_in(seed_key(seed), start), len(vectors))
    size = WORK // (batch.mask.shape[0] * _numbers(task, batch.data))
    numbers, sites = _draw(task, vectors, batch.data, keys, size)
    places = np.arange(count)
    own = {n: np.asarray(v).take(places, task.local.axes[n] + 1) for n, v in sites.items()}
    return LocalDraws(np.asarray(numbers)[:, places], own)


def pad_part(task: AbstractTask, dataset: Dataset, start: int, size: int) -> tuple[Batch, int]:
    """The rows from `start` on, at most `size` of them, padded; and how many there are."""
    stop = min(start + size, dataset.rows)
    rows = Dataset(lines_of_rows(task.group_layout, dataset.arrays, start, stop), {})
    batch = Batch(rows.arrays, np.ones(rows.lines, bool)) if task.ordered else pad(task, rows)
    return batch, stop - start


def _numbers(task: AbstractTask, data: dict[str, Array]) -> int:
    """Densities and points of the grid that are held at once for a row of these arrays."""
    if task.local.size > 1:
        return task.places(data) * PROPOSALS
    return max(task.places(data) * NODES, GRID) if task.grouping else GRID


@partial(jax.jit, static_argnums=(0, 4))
def _draw(
    task: AbstractTask, vectors: Array, data: dict[str, Array], keys: Array, at_once: int
) -> tuple[Array, dict[str, Array]]:
    return batched_map(lambda a: draw(task, a[0], data, a[1]), (vectors, keys), at_once)


def draw(
    task: AbstractTask, vector: Float[Array, " P"], data: dict[str, Array], key: Array
) -> tuple[Float[Array, "N L"], dict[str, Array]]:
    """One draw of every row's local latents: unconstrained, and by site in the model's own space.

    Args:
        task: a task with local latents.
        vector: the shared latents, unconstrained.
        data: rows of data.
        key: the random key.
    """

    def rows(local: Array) -> Array:
        return task.local.joint(vector, data, local)[1]

    if isinstance(task.local, Path):
        local = task.local.draw(vector, data, key)
        trace = task.trace_at(vector, data, task.local.unflatten(local))
        return local, {n: trace[n]["value"] for n in task.local.shown}
    near = task.local.find_modes(vector, data)
    if task.local.size == 1:
        local = on_grid(rows, near, key, NODES if task.grouping else GRID)
    else:
        local = resample(rows, near, key)
    trace = task.trace_at(vector, data, task.local.unflatten(local))
    return local, {n: trace[n]["value"] for n in task.local.shown}


def on_grid(rows: Rows, near: ModeAndScale, key: Array, nodes: int = GRID) -> Float[Array, "N 1"]:
    """One draw for each row from a density of one number, by inverting its distribution function.

    The grid's centre and width are the density's mean and sd by quadrature.

    Args:
        rows: the log densities.
        near: their modes and scales.
        key: the random key.
        nodes: points at which they are evaluated; between fewer than `GRID` by cubics.
    """
    points, log_weights = product_rule(1, FINE)
    weights = jax.nn.softmax(heights(rows, near, points) + log_weights[:, None], 0)
    mean = weights.T @ points[:, 0].astype(np.float32)
    spread = jnp.sqrt(jnp.maximum(jnp.sum(weights * (points - mean) ** 2, 0), 0.01))
    steps = np.linspace(-REACH, REACH, GRID, dtype=np.float32)[:, None]
    if nodes == GRID:
        height = heights(rows, near, (mean + spread * steps)[..., None])
    else:
        few = np.linspace(-REACH, REACH, nodes, dtype=np.float32)[:, None]
        height = _between(heights(rows, near, (mean + spread * few)[..., None]), GRID)
    density = jnp.exp(height - jnp.max(height, 0))
    below = jnp.cumsum((density[1:] + density[:-1]) / 2, 0)
    below = jnp.concatenate([jnp.zeros_like(below[:1]), below])
    level = jr.uniform(key, below[-1].shape) * below[-1]
    return near.at((mean + spread * _inverted(below, level))[:, None])


def _inverted(below: Float[Array, "M N"], level: Float[Array, " N"]) -> Float[Array, " N"]:
    """Where each row's distribution function, given at the even grid, has a level; in its units."""
    cell = jnp.clip(jnp.sum(below <= level, 0) - 1, 0, GRID - 2)
    low, high = (jnp.take_along_axis(below, cell[None] + i, 0)[0] for i in (0, 1))
    share = jnp.clip((level - low) / jnp.maximum(high - low, 1e-30), 0.0, 1.0)
    return REACH * (2.0 * (cell + share) / (GRID - 1) - 1.0)


def _between(height: Float[Array, "K N"], count: int) -> Float[Array, "M N"]:
    """Heights at M evenly spaced points, by cubics through the four of K that are nearest."""
    peak = jnp.max(height, 0)
    height = jnp.maximum(height, peak - 1e3)  # of densities that end somewhere
    last = len(height) - 1
    at = np.linspace(0, last, count)
    left = np.clip(np.floor(at).astype(int), 0, last - 1)
    first = np.clip(left - 1, 0, last - 3)
    t = (at - first)[:, None]
    matrix = np.zeros((count, len(height)), np.float32)  # a product is faster than gathers
    for i in range(4):
        share = np.prod([(t[:, 0] - j) / (i - j) for j in range(4) if j != i], 0)
        matrix[np.arange(count), first + i] = share
    cubic = peak + matrix @ (height - peak)
    lower, upper = jnp.minimum(height[:-1], height[1:]), jnp.maximum(height[:-1], height[1:])
    return jnp.clip(cubic, lower[left] - OVER, upper[left] + OVER)


def resample(rows: Rows, near: ModeAndScale, key: Array) -> Float[Array, "N L"]:
    """One draw for each row from a density of L numbers: a proposal picked by importance."""
    key, last = jr.split(key)
    z, log_weights = proposals(key, *near.mode.shape)
    picked = jr.categorical(last, heights(rows, near, z) + log_weights, axis=0)
    return near.at(jnp.take_along_axis(z, picked[None, :, None], 0)[0])


def proposals(
    key: Array, count: int, size: int
) -> tuple[Float[Array, "K N L"], Float[Array, "K N"]]:
    """Draws of a multivariate Student t for each of N rows, and minus their log densities but for
    a constant.
    """
    keys = jr.split(key)
    chi_square = 2 * jnp.sum(jr.exponential(keys[0], (FREEDOM // 2, PROPOSALS, count, 1)), 0)
    z = jr.normal(keys[1], (PROPOSALS, count, size)) * jnp.sqrt(FREEDOM / chi_square)
    return z, (FREEDOM + size) / 2 * jnp.log1p(jnp.sum(z * z, -1) / FREEDOM)
