"""Which latents lie in plates, independent given the others."""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool
from scipy.sparse.csgraph import connected_components

from amortppl.gaussian.plates import Plates
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.abstract import AbstractTask

FAINT = 1e-4
"""Largest relative change of a gradient that counts as none: rounding."""


CONNECTED, FEW_ROWS, TIED = 3000, 256, 1e-9
"""Latents in plates up to which connections are looked for, at so many rows; and the share of the
largest second derivative below which there is none."""


def in_plates(task: AbstractTask) -> Bool[np.ndarray, " P"]:
    """Which latents lie in plates, as the effects of groups do."""
    return np.array(
        [bool(task.sites[n].plates) for n, size in _sizes(task) for _ in range(size)], bool
    )


def plates_of(task: AbstractTask) -> Plates:
    """The latents in plates and their independent parts.

    Latents of the same index in a plate common to all are one part, where such parts are
    independent given the other latents. Without such a plate, as for rooms of schools by an index,
    latents that the density connects are one part. Elsewhere all latents in plates are.
    """
    plated, common = in_plates(task), _common_plates(task)
    for plate in common:
        parts = np.concatenate([_index(task, n, plate) for n, _ in _sizes(task)])
        if _independent_groups(task, parts):
            return Plates(tuple(map(int, parts)))
    if not common and plated.any() and plated.sum() <= CONNECTED:
        parts = _connected(task, plated)
        if parts.max() > 0 and _independent_groups(task, parts):
            return Plates(tuple(map(int, parts)))
    return Plates(tuple(0 if p else -1 for p in plated))


def shares_plate(task: AbstractTask) -> bool:
    """Whether all latents in plates share one."""
    return bool(_common_plates(task))


def _common_plates(task: AbstractTask) -> list[str]:
    names = [set(task.sites[n].plates.values()) for n, _ in _sizes(task) if task.sites[n].plates]
    return sorted(set.intersection(*names)) if names else []


def widest_plate(task: AbstractTask) -> Plates | None:
    """The plate with the most members that are independent given all other latents; None without
    one. Of crossed effects these others include the members of the other plates.
    """
    sizes: dict[str, int] = {}
    for name, _ in _sizes(task):
        for axis, plate in task.sites[name].plates.items():
            sizes[plate] = task.latents.unconstrained[name][axis]
    for plate in sorted(sizes, key=lambda p: -sizes[p]):
        parts = np.concatenate([_index(task, n, plate) for n, _ in _sizes(task)])
        if parts.max() > 0 and _independent_groups(task, parts):
            return Plates(tuple(map(int, parts)))
    return None


def _connected(task: AbstractTask, plated: Bool[np.ndarray, " P"]) -> np.ndarray:
    """For each latent in a plate the number of those that it is connected with by second
    derivatives of the log joint, at simulated data of few rows; -1 for others.
    """
    inner = np.flatnonzero(plated)

    def hessian(seed: Array) -> Array:
        draw = task.simulate(jr.key(seed), min((task.rows or (1, 1))[1], FEW_ROWS))
        total = lambda v: sum(map(jnp.sum, task.log_densities(v, draw.data)), jnp.zeros(()))  # noqa: E731
        along = jnp.eye(len(plated))[inner]
        return jax.vmap(lambda v: jax.jvp(jax.grad(total), (draw.latents,), (v,))[1])(along)

    bend = np.nan_to_num(evaluate(hessian, np.int32(2))[:, inner])
    linked = np.abs(bend) > TIED * np.abs(bend).max()
    parts = np.full(len(plated), -1)
    parts[inner] = connected_components(linked, directed=False)[1]
    return parts


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
