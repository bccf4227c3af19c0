"""Which latents lie in plates, independent given the others."""

from math import prod

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool

from amortppl.gaussian.plates import Plates
from amortppl.runtime.compilation import jit_unoptimized
from amortppl.task.abstract import AbstractTask

FAINT = 1e-4
"""What a gradient may change by, relative to its size, where nothing of what it depends on was
changed.
"""


def in_plates(task: AbstractTask) -> Bool[np.ndarray, " P"]:
    """Which latents lie in plates, as the effects of groups do."""
    return np.array(
        [bool(task.sites[n].plates) for n, size in _sizes(task) for _ in range(size)], bool
    )


def plates_of(task: AbstractTask) -> Plates:
    """The latents in plates and their parts: by the index in a plate common to all, where they are
    independent so.
    """
    plated = in_plates(task)
    names = [set(task.sites[n].plates.values()) for n, _ in _sizes(task) if task.sites[n].plates]
    for plate in sorted(set.intersection(*names)) if names else ():
        found = np.concatenate([_index(task, n, plate) for n, _ in _sizes(task)])
        if _independent_groups(task, found):
            return Plates(tuple(map(int, found)))
    return Plates(tuple(0 if p else -1 for p in plated))


def _sizes(task: AbstractTask) -> list[tuple[str, int]]:
    return [(n, prod(task.latents.unconstrained[n])) for n in task.latents.names]


def _index(task: AbstractTask, name: str, plate: str) -> np.ndarray:
    """For each entry of a site its index in a plate, -1 for a site outside all."""
    shape, plates = task.latents.unconstrained[name], task.sites[name].plates
    axis = next((a for a, p in plates.items() if p == plate), None)
    return np.full(prod(shape), -1) if axis is None else np.indices(shape)[axis].ravel()


def _independent_groups(task: AbstractTask, part: np.ndarray) -> bool:
    """Whether the gradient by each part of d changes with no other part, at simulated data.

    For each binary digit of the part's number, the parts that have it are changed, and then the
    others: any two parts differ in a digit.
    """
    digits = part >> np.arange(max(int(part.max()).bit_length(), 1))[:, None] & 1
    moved = np.concatenate([digits == 1, digits == 0]) & (part >= 0)
    still = ~moved & (part >= 0)

    def change(key: Array, moved: Array) -> tuple[Array, Array]:
        """Of the gradient when some latents are redrawn."""
        draw = task.simulate(jr.fold_in(key, 0), (task.rows or (1, 1))[1])
        other = task.simulate(jr.fold_in(key, 1), (task.rows or (1, 1))[0]).latents
        slope = jax.grad(
            lambda at: sum(map(jnp.sum, task.log_densities(at, draw.data)), jnp.zeros(()))
        )
        before = slope(draw.latents)
        return slope(jnp.where(moved, other, draw.latents)) - before, before

    with jax.ensure_compile_time_eval():  # while the method's weights are drawn, which is traced
        several = jit_unoptimized(jax.vmap(change))
        changes, slopes = (
            np.asarray(a) for a in several(jr.split(jr.key(0), len(moved)), jnp.asarray(moved))
        )
    known = np.isfinite(changes) & np.isfinite(slopes)
    return bool(
        np.all((np.abs(changes) <= FAINT * np.abs(slopes))[still & known]) and np.any(known & still)
    )


def plates_given_others(task: AbstractTask) -> Plates | None:
    """Which latents are placed given the others; None where all would be, or none."""
    plated = in_plates(task)
    return plates_of(task) if plated.any() and not plated.all() else None
