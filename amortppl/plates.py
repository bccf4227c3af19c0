"""Which latents lie in plates, and which derivatives are zero because of it.

The effects of groups are independent of one another given what the groups share. So the Hessian of the log joint among
them is diagonal, or has a block for each group: one product with it for all groups together shows it all, whatever
their number. Curtis, Powell and Reid 1974, "On the estimation of sparse Jacobian matrices".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float

from amortppl.once import unoptimized
from amortppl.task import Task

FAINT = 1e-4
"""What a gradient may change by, relative to its size, where nothing of what it depends on was changed."""


@dataclass(frozen=True)
class Plates:
    """Latents in plates, d, and others, g.

    Attributes:
        parts: for each latent the part of d that it belongs to, of parts that are independent given g; -1 for g.
    """

    parts: tuple[int, ...]

    @property
    def plated(self) -> tuple[bool, ...]:
        """Which latents are d."""
        return tuple(p >= 0 for p in self.parts)

    @cached_property
    def inner(self) -> np.ndarray:
        """Places of d."""
        return np.flatnonzero(np.array(self.parts) >= 0)

    @cached_property
    def outer(self) -> np.ndarray:
        """Places of g."""
        return np.flatnonzero(np.array(self.parts) < 0)

    @cached_property
    def together(self) -> Float[np.ndarray, "C L"]:
        """C sets of d, each with at most one latent of every part."""
        part = np.array(self.parts)[self.inner]
        number = np.array([np.sum(part[:i] == p) for i, p in enumerate(part)])
        return (number == np.arange(number.max(initial=-1) + 1)[:, None]).astype(np.float32)

    def joined(self, g: Float[Array, " G"], d: Float[Array, " L"]) -> Float[Array, " P"]:
        """One vector."""
        return jnp.zeros(len(self.parts)).at[self.outer].set(g).at[self.inner].set(d)

    def slope_and_curvature(
        self, f: Callable[..., Array], at: Float[Array, " P"], *among: Array
    ) -> tuple[Array, Array]:
        """Gradient and -Hessian of a log density, from 1 + G products for the latents of a simple plate."""
        inner, outer, together = self.inner, self.outer, self.together
        along = np.zeros((len(together) + len(outer), len(self.parts)), np.float32)
        along[: len(together), inner], along[len(together) :, outer] = together, np.eye(len(outer))

        def product(along: Array) -> tuple[Array, Array]:
            return jax.jvp(lambda at: jax.grad(f)(at, *among), (at,), (along,))

        slope, found = jax.vmap(product, out_axes=(None, 0))(jnp.asarray(along))
        part = np.array(self.parts)
        own = (part == part[:, None]) | (part < 0) | (part < 0)[:, None]
        rows = jnp.zeros_like(own, slope.dtype).at[outer].set(found[len(together) :])
        rows = rows.at[inner].set(found[np.argmax(together, 0)] * own[inner])
        rows = rows.at[np.ix_(inner, outer)].set(rows[np.ix_(outer, inner)].T)
        return slope, -rows


def in_plates(task: Task) -> Bool[np.ndarray, " P"]:
    """Which latents lie in plates, as the effects of groups do."""
    return np.array([bool(task.sites[n].plates) for n, size in _sizes(task) for _ in range(size)], bool)


def plates_of(task: Task) -> Plates:
    """The latents in plates and their parts: by the index in a plate common to all, where they are independent so."""
    plated = in_plates(task)
    names = [set(task.sites[n].plates.values()) for n, _ in _sizes(task) if task.sites[n].plates]
    for plate in sorted(set.intersection(*names)) if names else ():
        found = np.concatenate([_index(task, n, plate) for n, _ in _sizes(task)])
        if _independent(task, found):
            return Plates(tuple(map(int, found)))
    return Plates(tuple(0 if p else -1 for p in plated))


def _sizes(task: Task) -> list[tuple[str, int]]:
    return [(n, prod(task.latents.unconstrained[n])) for n in task.latents.names]


def _index(task: Task, name: str, plate: str) -> np.ndarray:
    """For each entry of a site its index in a plate, -1 for a site outside all."""
    shape, plates = task.latents.unconstrained[name], task.sites[name].plates
    axis = next((a for a, p in plates.items() if p == plate), None)
    return np.full(prod(shape), -1) if axis is None else np.indices(shape)[axis].ravel()


def _independent(task: Task, part: np.ndarray) -> bool:
    """Whether the gradient by each part of d changes with no other part, at simulated data.

    For each binary digit of the part's number, the parts that have it are changed, and then the others: any two parts
    differ in a digit.
    """
    digits = part >> np.arange(max(int(part.max()).bit_length(), 1))[:, None] & 1
    moved = np.concatenate([digits == 1, digits == 0]) & (part >= 0)
    still = ~moved & (part >= 0)

    def change(key: Array, moved: Array) -> tuple[Array, Array]:
        """Of the gradient when some latents are redrawn."""
        draw = task.simulate(jr.fold_in(key, 0), (task.rows or (1, 1))[1])
        other = task.simulate(jr.fold_in(key, 1), (task.rows or (1, 1))[0]).latents
        slope = jax.grad(lambda at: sum(map(jnp.sum, task.log_densities(at, draw.data)), jnp.zeros(())))
        before = slope(draw.latents)
        return slope(jnp.where(moved, other, draw.latents)) - before, before

    with jax.ensure_compile_time_eval():  # while the method's weights are drawn, which is traced
        several = unoptimized(jax.vmap(change))
        changes, slopes = (np.asarray(a) for a in several(jr.split(jr.key(0), len(moved)), jnp.asarray(moved)))
    known = np.isfinite(changes) & np.isfinite(slopes)
    return bool(np.all((np.abs(changes) <= FAINT * np.abs(slopes))[still & known]) and np.any(known & still))
