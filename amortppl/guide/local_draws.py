"""Draws of local latents given the shared ones.

    u_i ~ p(u_i | y_i, x_i, theta_s),    for every row i and draw s

One number a row is drawn by inverting its distribution function on a fine grid around the mode.
Several are drawn by sampling-importance-resampling from a multivariate Student-t around the mode.

Rubin 1988, "Using the SIR algorithm to simulate posterior distributions".
"""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.errors import DataError, quoted
from amortppl.guide.trees import local_tree
from amortppl.posterior.padding import pad
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.seeds import fold_in, seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.quadrature import FINE, ModeAndScale, Rows, heights, product_rule
from amortppl.training.trained import TrainedMethod

if TYPE_CHECKING:
    import xarray


GRID, REACH = 193, 9.0
"""Points of a grid, and its reach to either side in sds.

Drawing evenly within a cell adds 0.0007 sd^2 to the variance."""

PROPOSALS, FREEDOM = 128, 4
"""Proposals for each draw of several numbers, and the degrees of freedom (even) of their t."""

ROWS, WORK = 4096, 4_000_000
"""Rows drawn at once, and densities evaluated at once, which bound the memory."""


class Shared(NamedTuple):
    """Draws of the shared latents: by site (C, S, ...), and labels along chain and draw."""

    sites: dict[str, np.ndarray]
    coords: dict[str, list[Any]]


def draw_local(
    guide: TrainedMethod, draws: Any, data: Any, seed: int, columns: Columns | None
) -> "xarray.DataTree":
    """Draws of local latents; see `Guide.local`."""
    task = guide.task
    if not (task.local and task.has_density):
        lacks = "density of the observations" if task.local else "latent with one value per row"
        raise DataError(
            f"local: {task.name} has no {lacks}, so there is nothing to draw row by row"
        )
    dataset, shared = read(task, data, columns), _shared_latents(task, draws)
    lead = next(iter(shared.sites.values())).shape[:2]
    flat = {n: v.reshape(-1, *v.shape[2:]) for n, v in shared.sites.items()}
    size, one = dataset.rows, dataset.arrays
    if task.row_free:
        size, one = ROWS, {n: v[:1] for n, v in dataset.arrays.items()}
    vectors = _unconstrain(task, flat, one)
    starts = range(0, dataset.rows, size)
    parts = [_part(guide, vectors, dataset, start, size, seed) for start in starts]
    values = {}
    for name, axis in task.local.axes.items():
        whole = np.concatenate([p[name] for p in parts], axis + 1)
        values[name] = whole.reshape(*lead, *whole.shape[1:])
    return local_tree(guide, dataset, values, shared.coords, seed)


def _shared_latents(task: AbstractTask, draws: Any) -> Shared:
    """The shared latents, from what `infer` returned or a dict of arrays.

    Arrays have the shape (S, ...) or (C, S, ...).
    """
    group = draws.get("posterior", draws)
    missing = [n for n in task.latents.names if n not in group]
    if missing:
        raise DataError(
            f"local: the draws lack the latent {quoted(missing)} of {task.name} (they have "
            f"{quoted(group)})"
        )
    shapes = task.latents.shapes
    draws_of = {n: group[n] for n in task.latents.names}
    if not hasattr(group, "data_vars"):
        return Shared(
            {n: _expect_lead(n, np.asarray(v), shapes[n]) for n, v in draws_of.items()}, {}
        )
    if any("task" in v.dims for v in draws_of.values()):
        raise DataError(
            "local: these are draws of several datasets; pick the one of these rows, as by "
            ".isel(task=0)"
        )
    arrays = {n: v.transpose("chain", "draw", ...).values for n, v in draws_of.items()}
    coords = {n: group[n].values.tolist() for n in ("chain", "draw") if n in group.coords}
    return Shared({n: _expect_lead(n, v, shapes[n]) for n, v in arrays.items()}, coords)


def _expect_lead(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    lead = values.ndim - len(shape)
    if lead not in (1, 2) or values.shape[lead:] != shape:
        raise DataError(
            f"local: draws of {name!r} should have shape (draws, *{shape}) or (chains, draws, "
            f"*{shape}), got {values.shape}"
        )
    return values if lead == 2 else values[None]


@partial(jax.jit, static_argnums=0)
def _unconstrain(task: AbstractTask, values: dict[str, Array], data: dict[str, Array]) -> Array:
    return jax.vmap(lambda sites: task.unconstrain(sites, data))(values)


def _part(
    guide: TrainedMethod, vectors: Array, dataset: Dataset, start: int, size: int, seed: int
) -> dict[str, np.ndarray]:
    """Draws for the rows from `start` on, at most `size` of them."""
    rows = Dataset({n: v[start : start + size] for n, v in dataset.arrays.items()}, {})
    batch = pad(guide.task, rows)
    keys = split_key(fold_in(seed_key(seed), start), len(vectors))
    drawn = _draw(guide.task, vectors, batch.data, keys, WORK // (batch.mask.shape[0] * GRID))
    places = np.arange(rows.rows)
    return {n: np.asarray(v).take(places, guide.task.local.axes[n] + 1) for n, v in drawn.items()}


@partial(jax.jit, static_argnums=(0, 4))
def _draw(
    task: AbstractTask, vectors: Array, data: dict[str, Array], keys: Array, at_once: int
) -> dict[str, Array]:
    return batched_map(lambda a: draw(task, a[0], data, a[1]), (vectors, keys), at_once)


def draw(
    task: AbstractTask, vector: Float[Array, " P"], data: dict[str, Array], key: Array
) -> dict[str, Array]:
    """One draw of every row's local latents by site, in the model's own space.

    Args:
        task: a task with local latents.
        vector: the shared latents, unconstrained.
        data: rows of data.
        key: the random key.
    """

    def rows(local: Array) -> Array:
        return task.local.joint(vector, data, local)[1]

    near = task.local.find_modes(vector, data)
    local = (on_grid if task.local.size == 1 else resample)(rows, near, key)
    trace = task.trace_at(vector, data, task.local.unflatten(local))
    return {n: trace[n]["value"] for n in task.local.shown}


def on_grid(rows: Rows, near: ModeAndScale, key: Array) -> Float[Array, "N 1"]:
    """One draw for each row from a density of one number, by inverting its distribution function.

    The grid's centre and width are the density's mean and sd by quadrature.
    """
    points, log_weights = product_rule(1, FINE)
    weights = jax.nn.softmax(heights(rows, near, points) + log_weights[:, None], 0)
    mean = weights.T @ points[:, 0].astype(np.float32)
    spread = jnp.sqrt(jnp.maximum(jnp.sum(weights * (points - mean) ** 2, 0), 0.01))
    z = mean + spread * np.linspace(-REACH, REACH, GRID, dtype=np.float32)[:, None]
    height = heights(rows, near, z[..., None])
    density = jnp.exp(height - jnp.max(height, 0))
    below = jnp.cumsum((density[1:] + density[:-1]) / 2, 0)
    below = jnp.concatenate([jnp.zeros_like(below[:1]), below])
    level = jr.uniform(key, below[-1].shape) * below[-1]
    return near.at(jax.vmap(jnp.interp, (0, 1, 1))(level, below, z)[:, None])


def resample(rows: Rows, near: ModeAndScale, key: Array) -> Float[Array, "N L"]:
    """One draw for each row from a density of L numbers: a proposal picked by importance."""
    keys, (count, size) = jr.split(key, 3), near.mode.shape
    chi_square = 2 * jnp.sum(jr.exponential(keys[0], (FREEDOM // 2, PROPOSALS, count, 1)), 0)
    z = jr.normal(keys[1], (PROPOSALS, count, size)) * jnp.sqrt(FREEDOM / chi_square)
    log_proposal = -(FREEDOM + size) / 2 * jnp.log1p(jnp.sum(z * z, -1) / FREEDOM)
    picked = jr.categorical(keys[2], heights(rows, near, z) - log_proposal, axis=0)
    return near.at(jnp.take_along_axis(z, picked[None, :, None], 0)[0])
