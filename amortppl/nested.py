"""The frame of a hierarchical model: what lies in plates is integrated out before the rest is placed.

With theta = (g, d), d the latents in plates, the mode of the joint density says little of where its mass lies: where
d = (effect - location) / scale, the width of d falls with the scale, which the mode does not see. So the rest is placed
by its own marginal density, whose gradient is that of the joint averaged over d (Fisher's identity),

    grad log p(g, D) = E_{d | g, D} grad_g log p(g, d, D),

over a Gaussian at the mode of d given g, at cubature points: exact where d is Gaussian given g. Rue, Martino and Chopin
2009, "Approximate Bayesian inference for latent Gaussian models by using integrated nested Laplace approximations",
JRSS B 71; Louis 1982, "Finding the observed information matrix when using the EM algorithm", JRSS B 44.
"""

from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from amortppl.shear import Shear
from amortppl.signals import (
    FLOOR,
    REACH,
    Frame,
    LogDensity,
    cholesky_of,
    clamped,
    cubature,
    lower_factor,
    slope_and_curvature,
    within,
)  # fmt: skip
from amortppl.task import Task

STEPS = 48
"""Newton steps of g, each with one of d."""

LONGEST, SHORT = 16.0, 3.0
"""How far one of g may go in each direction, and one of d after one that did not lead up, in prior sds."""


class Given(NamedTuple):
    """d given g: location, factor of the precision, how the location moves with g; and -Hessian of log p(g, D)."""

    location: Float[Array, " L"]
    factor: Float[Array, "L L"]
    moves: Float[Array, "L G"]
    curvature: Float[Array, "G G"]


class Place(NamedTuple):
    """A place on the way up: its height, Laplace's approximation of log p(g, D), and the next step from there."""

    g: Float[Array, " G"]
    d: Float[Array, " L"]
    height: Float[Array, ""]
    step: Float[Array, " G"]
    moves: Float[Array, "L G"]


def in_plates(task: Task) -> Bool[np.ndarray, " P"]:
    """Which latents lie in plates, as the effects of groups do."""
    plated = [np.full(prod(task.latents.unconstrained[n]), bool(task.sites[n].plates)) for n in task.latents.names]
    return np.concatenate([np.zeros(0, bool), *plated])


def nested(f: LogDensity, start: Float[Array, " P"], plated: tuple[bool, ...]) -> tuple[Frame, Shear]:
    """The Laplace approximation of g's marginal, and d given g: a Gaussian in coordinates that follow d's mode.

    Args:
        f: log joint density, in coordinates where the prior has unit scale.
        start: its mode, about; the prior's centre is the second place looked at.
        plated: which latents are d: some, not all.

    Returns:
        A frame in the coordinates of the shear, and the shear.
    """
    inner, outer = np.flatnonzero(plated), np.flatnonzero(~np.array(plated))

    def joined(g: Array, d: Array) -> Array:
        return jnp.zeros(len(plated)).at[outer].set(g).at[inner].set(d)

    def given(g: Array, d: Array, longest: Array | float = jnp.inf) -> Given:
        """After a Newton step of d, no longer than that."""
        slope, bend = (jnp.nan_to_num(a) for a in slope_and_curvature(f, joined(g, d)))
        values, vectors = clamped(bend[np.ix_(inner, inner)], FLOOR, jnp.inf)
        across = bend[np.ix_(inner, outer)]
        step, moves = (vectors @ ((vectors.T @ a) / values[:, None]) for a in (slope[inner, None], -across))
        curvature = bend[np.ix_(outer, outer)] + across.T @ moves
        return Given(d + within(step[:, 0], longest), cholesky_of(values, vectors), moves, curvature)

    def place(g: Array, d: Array, longest: Array | float = jnp.inf) -> Place:
        there = given(g, d, longest)
        points = jax.vmap(joined, (None, 0))(g, cubature(Frame(there.location, there.factor)))
        heights, slopes = jax.vmap(jax.value_and_grad(f))(points)
        height = heights[0] - jnp.sum(jnp.log(jnp.diag(there.factor)))
        height = jnp.where(jnp.isfinite(height), height, -jnp.inf)
        slope = slopes[0] + jnp.sum(slopes[1:] - slopes[0], 0) / (2.0 * REACH**2)
        values, vectors = clamped(there.curvature, FLOOR, jnp.inf)
        step = vectors @ ((vectors.T @ jnp.nan_to_num(slope[outer])) / values)
        return Place(g, there.location, height, step, there.moves)

    def ascend(state: tuple[Place, Array, Array], number: Array) -> tuple[tuple[Place, Array, Array], None]:
        """Looks at one more place, and goes on from the highest: further after a step that led up, else less far."""
        best, ahead, length = state
        d = jnp.where(number == 1, 0.0, best.d + best.moves @ ahead)
        seen = place(best.g + ahead, d, jnp.where(length < 1.0, SHORT, jnp.inf))
        rounding = 8 * jnp.finfo(seen.height.dtype).eps * jnp.abs(best.height)
        higher, lower = seen.height > best.height + rounding, seen.height < best.height - rounding
        best = jax.tree.map(lambda new, old: jnp.where(lower, old, new), seen, best)  # if as high, d is nearer its mode
        length = jnp.where(lower, 0.3 * jnp.minimum(length, 1.0), jnp.where(higher, 2.0, 1.0) * length)
        length = jnp.minimum(length, LONGEST)
        step = jnp.clip(jnp.minimum(length, 1.0) * best.step, -length, length)
        return (best, jnp.where(number == 0, -best.g, step), jnp.where(number < 2, 1.0, length)), None

    begin = jax.tree.map(jnp.zeros_like, jax.eval_shape(place, start[outer], start[inner]))
    begin = begin._replace(g=start[outer], d=start[inner], height=jnp.finfo(start.dtype).min)
    begin = begin, jnp.zeros(len(outer)), jnp.ones(())
    best = jax.lax.scan(ascend, begin, jnp.arange(STEPS))[0][0]

    def look(points: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Given, Frame]]:
        """d at several g, and the next of them: around the first, as far as its marginal reaches."""
        g, found = points[0][0], jax.vmap(given)(*points)
        there = jax.tree.map(lambda a: a[0], found)
        marginal = Frame(g, cholesky_of(*clamped(there.curvature, FLOOR, jnp.inf)))
        around = cubature(marginal)
        return (around, there.location + (around - g) @ there.moves.T), (found, marginal)

    begin = tuple(jnp.broadcast_to(a, (1 + 2 * len(outer), len(a))) for a in (best.g, best.d))
    found, marginals = jax.lax.scan(look, begin, length=2)[1]  # not twice by itself, which would be compiled twice
    there, marginal = jax.tree.map(lambda a: a[0], (jax.tree.map(lambda a: a[:, 0], found), marginals))
    ahead, behind = jnp.split(found.moves[1, 1:], 2)
    second = jnp.einsum("ilg,hi->lgh", ahead - behind, marginal.factor) / (2.0 * REACH)
    shear = Shear(best.g, (second + jnp.swapaxes(second, 1, 2)) / 2, plated)
    rows = jnp.zeros((len(plated), len(plated)))
    rows = rows.at[: len(inner), inner].set(there.factor.T).at[: len(inner), outer].set(-there.factor.T @ there.moves)
    rows = rows.at[len(inner) :, outer].set(marginal.factor.T)
    return Frame(joined(best.g, there.location), lower_factor(rows)), shear
