"""The verbs `Guide.local` and `Guide.local_moments`: local latents given draws of the shared
ones.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.errors import DataError, quoted
from amortppl.guide.trees import local_tree
from amortppl.posterior.local_draws import draw_sites
from amortppl.posterior.local_moments import Moments, local_moments
from amortppl.task.abstract import AbstractTask
from amortppl.training.trained import TrainedMethod

if TYPE_CHECKING:
    import xarray


class Shared(NamedTuple):
    """Draws of the shared latents: by site (C, S, ...), and labels along chain and draw."""

    sites: dict[str, np.ndarray]
    coords: dict[str, list[Any]]

    @property
    def lead(self) -> tuple[int, ...]:
        """(C, S)."""
        return next(iter(self.sites.values())).shape[:2]


def draw_local(
    guide: TrainedMethod, draws: Any, data: Any, seed: int, columns: Columns | None
) -> "xarray.DataTree":
    """Draws of local latents; see `Guide.local`."""
    dataset, shared, vectors = _given(guide.task, draws, data, columns)
    whole = draw_sites(guide.task, vectors, dataset, seed).sites
    values = {n: v.reshape(*shared.lead, *v.shape[1:]) for n, v in whole.items()}
    return local_tree(guide, dataset, {"posterior": values}, shared.coords, seed)


def moments_of_local(
    guide: TrainedMethod, draws: Any, data: Any, seed: int, columns: Columns | None
) -> "xarray.DataTree":
    """Moments of local latents; see `Guide.local_moments`."""
    if guide.task.ordered:
        raise DataError(
            f"local_moments: the latents of {guide.task.name} follow one another from row to row; "
            "guide.local draws them"
        )
    dataset, _, vectors = _given(guide.task, draws, data, columns)
    sites = local_moments(guide.task, vectors, dataset, seed).items()
    values = {f: {n: getattr(m, f) for n, m in sites} for f in Moments._fields}
    return local_tree(guide, dataset, values, {}, seed)


def _given(
    task: AbstractTask, draws: Any, data: Any, columns: Columns | None
) -> tuple[Dataset, Shared, Array]:
    """The rows, and the shared latents as draws and as unconstrained vectors (S, P)."""
    if not (task.local and task.has_density):
        lacks = "density of the observations" if task.local else "latent with one value per row"
        raise DataError(
            f"local: {task.name} has no {lacks}, so there is nothing to draw row by row"
        )
    dataset, shared = read(task, data, columns), _shared_latents(task, draws)
    flat = {n: v.reshape(-1, *v.shape[2:]) for n, v in shared.sites.items()}
    one = dataset.arrays
    if task.row_free:
        one = {n: v[:1] for n, v in dataset.arrays.items()}
    return dataset, shared, _unconstrain(task, flat, one)


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
