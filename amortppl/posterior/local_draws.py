"""Draws of local latents given the shared ones.

    u_i ~ p(u_i | y_i, x_i, theta_s),    for every row i and draw s

Where all are Gaussian given theta (`amortppl.task.local_latents`), they are drawn as that. Else one
number a row is drawn by inverting its distribution function: from the nodes that integrate it
out where all densities are smooth (`amortppl.posterior.node_draws`), else from a grid around the
mode.
Several are drawn by sampling-importance-resampling from a multivariate Student-t around the mode.

Rubin 1988, "Using the SIR algorithm to simulate posterior distributions".
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from amortppl.data.dataset import Dataset
from amortppl.posterior.grid_draws import NODES, Shape, on_grid
from amortppl.posterior.node_draws import draw_between, is_smooth
from amortppl.posterior.padding import pad
from amortppl.runtime.batched_map import map_blocks
from amortppl.runtime.seeds import fold_in, seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.group_summary import lines_of_rows
from amortppl.task.path_latents import Path
from amortppl.task.quadrature import FINE, ModeAndScale, Rows, heights, product_rule

PROPOSALS, FREEDOM = 128, 4
"""Proposals for each draw of several numbers, and the degrees of freedom (even) of their t."""

ROWS, WORK = 4096, 1 << 18
"""Rows drawn at once, and numbers evaluated at once: as many as a processor's cache holds."""


class LocalDraws(NamedTuple):
    """Draws of what every row has of its own.

    Attributes:
        numbers: unconstrained, (S, N, L).
        sites: by site, (S, ...).
        log_likelihood: of each row with these integrated out, (S, N), where the quadrature that
            drew them says it too.
        log_prior: of the shared latents, (S,), where the same holds.
    """

    numbers: Any
    sites: dict[str, Any]
    log_likelihood: Any = None
    log_prior: Any = None

    def log_joint(self) -> np.ndarray:
        """Of the shared latents, (S,)."""
        return self.log_prior + np.sum(self.log_likelihood, 1, np.float64)


def integrates_as_it_draws(task: AbstractTask) -> bool:
    """Whether draws of local latents come with the log joint of the shared ones."""
    simple = task.local and (task.local.size == 1 or task.local.normal)
    return bool(simple) and not isinstance(task.local, Path)


def draw_sites(task: AbstractTask, vectors: Array, dataset: Dataset, seed: int) -> LocalDraws:
    """Draws of a dataset's local latents given each of S unconstrained vectors (S, P)."""
    size = ROWS if task.independent else dataset.rows
    starts = range(0, dataset.rows, size)
    parts = [_part(task, vectors, dataset, start, size, seed) for start in starts]
    numbers = np.concatenate([p.numbers for p in parts], 1)
    axes = task.local.axes.items()
    sites = {n: np.concatenate([p.sites[n] for p in parts], a + 1) for n, a in axes}
    by_row = [p.log_likelihood for p in parts if p.log_likelihood is not None]
    joined = np.concatenate(by_row, 1) if by_row else None
    return LocalDraws(numbers, sites, joined, parts[0].log_prior)


def _part(
    task: AbstractTask, vectors: Array, dataset: Dataset, start: int, size: int, seed: int
) -> LocalDraws:
    """Draws for the rows from `start` on, at most `size` of them."""
    batch, count = pad_part(task, dataset, start, size)
    keys = split_key(fold_in(seed_key(seed), start), len(vectors))
    size = WORK // (batch.mask.shape[0] * _numbers(task, batch.data))
    drawn = _draw(task, vectors, batch.data, keys, size)
    places = np.arange(count)
    axes = task.local.axes
    own = {n: np.asarray(v).take(places, axes[n] + 1) for n, v in drawn.sites.items()}
    known = (None if v is None else np.asarray(v) for v in drawn[2:])
    by_row, prior = known
    by_row = None if by_row is None else by_row[:, places]
    return LocalDraws(np.asarray(drawn.numbers)[:, places], own, by_row, prior)


def pad_part(task: AbstractTask, dataset: Dataset, start: int, size: int) -> tuple[Batch, int]:
    """The rows from `start` on, at most `size` of them, padded; and how many there are."""
    stop = min(start + size, dataset.rows)
    rows = Dataset(lines_of_rows(task.group_layout, dataset.arrays, start, stop), {})
    batch = Batch(rows.arrays, np.ones(rows.lines, bool)) if task.ordered else pad(task, rows)
    return batch, stop - start


def _numbers(task: AbstractTask, data: dict[str, Array]) -> int:
    """Densities and points of the grid that are held at once for a row of these arrays."""
    if task.local.normal:
        return task.places(data)
    if task.local.size > 1:
        return task.places(data) * PROPOSALS
    return task.places(data) * NODES if task.grouping else NODES


@partial(jax.jit, static_argnums=(0, 4))
def _draw(
    task: AbstractTask, vectors: Array, data: dict[str, Array], keys: Array, at_once: int
) -> LocalDraws:
    return map_blocks(lambda a: _draw_block(task, a[0], data, a[1]), (vectors, keys), at_once)


def draw(
    task: AbstractTask, vector: Float[Array, " P"], data: dict[str, Array], key: Array
) -> LocalDraws:
    """One draw of every row's local latents: unconstrained, and by site in the model's own space;
    and each row's log likelihood with these integrated out, where they are one number.

    Args:
        task: a task with local latents.
        vector: the shared latents, unconstrained.
        data: rows of data.
        key: the random key.
    """
    drawn = _draw_block(task, vector[None], data, key[None])
    return jax.tree.map(lambda a: a[0], drawn)


def _draw_block(
    task: AbstractTask, vectors: Float[Array, "S P"], data: dict[str, Array], keys: Array
) -> LocalDraws:
    """Draws for each of some vectors of the shared latents."""

    def rows_at(vector: Array) -> Rows:
        return lambda local: task.local.joint(vector, data, local)[1]

    def sites_at(vector: Array, local: Array) -> dict[str, Array]:
        trace = task.trace_at(vector, data, task.local.unflatten(local))
        return {n: trace[n]["value"] for n in task.local.shown}

    if isinstance(task.local, Path):
        path = task.local
        local = jax.vmap(lambda v, k: path.draw(v, data, k))(vectors, keys)
        return LocalDraws(local, jax.vmap(sites_at)(vectors, local))
    near = jax.vmap(lambda v: task.local.find_modes(v, data))(vectors)
    if task.local.normal:
        prior, peak = jax.vmap(lambda v, n: task.local.joint(v, data, n.mode))(vectors, near)
        integral = (
            peak + task.local.size * np.log(2 * np.pi) / 2 + jax.vmap(ModeAndScale.log_volume)(near)
        )
        z = jax.vmap(lambda k, m: jr.normal(k, m.shape))(keys, near.mode)
        local = jax.vmap(ModeAndScale.at)(near, z)
        return LocalDraws(local, jax.vmap(sites_at)(vectors, local), integral, prior)
    if not integrates_as_it_draws(task):
        local = jax.vmap(lambda v, n, k: resample(rows_at(v), n, k))(vectors, near, keys)
        return LocalDraws(local, jax.vmap(sites_at)(vectors, local))
    points = product_rule(1, FINE)[0]
    at_nodes = jax.vmap(lambda v, n: heights(rows_at(v), n, points))(vectors, near)
    shape = jax.vmap(Shape.of)(at_nodes, near)

    def by_grid() -> Array:
        each = jax.vmap(lambda v, n, k, s: on_grid(rows_at(v), n, k, s))
        return each(vectors, near, keys, shape)

    def by_nodes() -> Array:
        z = jax.vmap(draw_between)(at_nodes, keys)
        return jax.vmap(ModeAndScale.at)(near, z[..., None])

    smooth = jnp.all(jax.vmap(is_smooth)(at_nodes))
    local = jax.lax.cond(smooth, by_nodes, by_grid)
    prior = jax.vmap(lambda v, u: task.local.joint(v, data, u)[0])(vectors, near.mode)
    return LocalDraws(local, jax.vmap(sites_at)(vectors, local), shape.log_sum, prior)


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
