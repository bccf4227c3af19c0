"""Which latents lie in plates, independent given the others."""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool

from amortppl.gaussian.plates import Plates
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.abstract import AbstractTask

FAINT = 1e-4
"""Largest relative change of a gradient that counts as none: rounding."""


def in_plates(task: AbstractTask) -> Bool[np.ndarray, " P"]:
    """Which latents lie in plates, as the effects of groups do."""
    return np.array(
        [bool(task.sites[n].plates) for n, size in _sizes(task) for _ in range(size)], bool
    )


def plates_of(task: AbstractTask) -> Plates:
    """The latents in plates and their independent parts.

    Latents of the same index in a plate common to all are one part, where such parts are
    independent given the other latents; elsewhere all latents in plates are one part.
    """
    plated = in_plates(task)
    names = [set(task.sites[n].plates.values()) for n, _ in _sizes(task) if task.sites[n].plates]
    for plate in sorted(set.intersection(*names)) if names else ():
        parts = np.concatenate([_index(task, n, plate) for n, _ in _sizes(task)])
        if _independent_groups(task, parts):
            return Plates(tuple(map(int, parts)))
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

    For each binary digit of the part's number, the parts that have it are redrawn, and then the
    others: any two parts differ in a digit.
    """
    digits = part >> np.arange(max(int(part.max()).bit_length(), 1))[:, None] & 1
    redrawn = np.concatenate([digits == 1, digits == 0]) & (part >= 0)
    fixed = ~redrawn & (part >= 0)
    draws = len(redrawn)
    changes, gradients = evaluate(
        lambda which: jax.vmap(partial(_gradient_change, task))(jr.split(jr.key(0), draws), which),
        redrawn,
    )
    tested = fixed & np.isfinite(changes) & np.isfinite(gradients)
    same = np.abs(changes) <= FAINT * np.abs(gradients)
    return bool(np.all(same[tested]) and np.any(tested))


def _gradient_change(task: AbstractTask, key: Array, redrawn: Array) -> tuple[Array, Array]:
    """Change of the log joint's gradient when some latents are redrawn, and the gradient before."""
    draw = task.simulate(jr.fold_in(key, 0), (task.rows or (1, 1))[1])
    other = task.simulate(jr.fold_in(key, 1), (task.rows or (1, 1))[0]).latents
    gradient = jax.grad(
        lambda at: sum(map(jnp.sum, task.log_densities(at, draw.data)), jnp.zeros(()))
    )
    places = jnp.stack([draw.latents, jnp.where(redrawn, other, draw.latents)])
    before, after = jax.vmap(gradient)(places)
    return after - before, before


def plates_given_others(task: AbstractTask) -> Plates | None:
    """Which latents are placed given the others; None where all would be, or none."""
    plated = in_plates(task)
    return plates_of(task) if plated.any() and not plated.all() else None
