"""Which discrete latents the plain model has, in what states, and where its rows are."""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.handlers as handlers
from jaxtyping import Array

from amortppl.errors import quoted
from amortppl.task.abstract import AbstractTask


class Hidden(NamedTuple):
    """A discrete latent: its states, the shape of a row of its value, and the axis of the rows,
    from the right; None in a block.
    """

    support: np.ndarray
    shape: tuple[int, ...]
    axis: int | None

    @property
    def size(self) -> int:
        """Entries of a row."""
        return prod(self.shape)


class Layout(NamedTuple):
    """Discrete latents, and for all sites but those that the rows share the axis of the rows in
    their log densities, from the right; None in a block.
    """

    hidden: dict[str, Hidden]
    axes: dict[str, int | None]

    @property
    def sizes(self) -> np.ndarray:
        """Number of states of each entry of a row, (V,)."""
        each = [np.full(h.size, len(h.support)) for h in self.hidden.values()]
        return np.concatenate(each) if each else np.zeros(0, int)

    def values(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """States (C, V, B) -> values by site, (C, ...)."""
        values, start = {}, 0
        for name, hidden in self.hidden.items():
            own = hidden.support[states[:, start : start + hidden.size]]
            own = own.reshape(len(states), *hidden.shape, states.shape[-1])
            values[name] = own[..., 0] if hidden.axis is None else np.moveaxis(own, -1, hidden.axis)
            start += hidden.size
        return values

    def factors(self, densities: Mapping[str, Array]) -> Array:
        """Log densities by site -> (F, B)."""
        each = [
            jnp.reshape(densities[n], (-1, 1))
            if axis is None
            else (moved := jnp.moveaxis(densities[n], axis, -1)).reshape(-1, moved.shape[-1])
            for n, axis in self.axes.items()
        ]
        return jnp.concatenate(each)


def read_layout(task: AbstractTask, data: Mapping[str, Array]) -> Layout | str:
    """The layout of a task's plain model, or why its discrete latents cannot be summed out here.

    Args:
        data: of few rows.
    """
    model, arguments = task.plain.called(data)
    with handlers.block():
        trace = handlers.trace(handlers.seed(model, jr.key(0))).get_trace(**arguments)
    shared = (*task.latents.names, *task.fixed)
    own = {n: s for n, s in trace.items() if s["type"] == "sample" and n not in shared}
    hidden = {n: s for n, s in own.items() if _is_hidden(s)}
    strange = [
        n for n, s in own.items() if not s["is_observed"] and n not in (*hidden, *task.local.sites)
    ]
    if strange:
        return f"the latent {quoted(strange)} is neither summed out nor inferred"
    if any(s["fn"].event_dim for s in hidden.values()):
        return f"the discrete {quoted(hidden)} have states that are vectors"
    axes = {n: None for n in own} if task.block else _row_axes(own, data)
    if axes is None:
        return f"no plate of the rows encloses {quoted(own)}"
    return Layout({n: _hidden(s, axes[n]) for n, s in hidden.items()}, axes)


def _is_hidden(site: dict[str, Any]) -> bool:
    return not site["is_observed"] and site["fn"].support.is_discrete


def _row_axes(sites: Mapping[str, Any], data: Mapping[str, Array]) -> dict[str, int | None] | None:
    """The axis of the rows in each site's log density: of the one plate that encloses them all."""
    rows = next(iter(data.values())).shape[0]
    frames = {
        n: {f.name: f.dim for f in s["cond_indep_stack"] if f.size == rows}
        for n, s in sites.items()
    }
    shared = set.intersection(*(set(f) for f in frames.values()))
    return {n: f[min(shared)] for n, f in frames.items()} if len(shared) == 1 else None


def _hidden(site: dict[str, Any], axis: int | None) -> Hidden:
    support = np.asarray(site["fn"].enumerate_support(expand=False)).ravel()
    shape = np.shape(site["value"])
    row = shape if axis is None else tuple(np.delete(shape, len(shape) + axis).tolist())
    return Hidden(support.astype(site["value"].dtype), row, axis)
