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

STEPS, LONGEST = 32, 1.0
"""Newton steps of g, each with one of d, and how far one may go in each of g's directions, in prior sds."""


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

    def given(g: Array, d: Array) -> Given:
        """After a Newton step of d."""
        slope, bend = (jnp.nan_to_num(a) for a in slope_and_curvature(f, joined(g, d)))
        values, vectors = clamped(bend[np.ix_(inner, inner)], FLOOR, jnp.inf)
        across = bend[np.ix_(inner, outer)]
        step, moves = (vectors @ ((vectors.T @ a) / values[:, None]) for a in (slope[inner, None], -across))
        curvature = bend[np.ix_(outer, outer)] + across.T @ moves
        return Given(d + within(step[:, 0], 30.0), cholesky_of(values, vectors), moves, curvature)

    def marginal_slope(g: Array, there: Given) -> Array:
        points = cubature(Frame(there.location, there.factor))
        slopes = jax.vmap(lambda d: jax.grad(f)(joined(g, d))[outer])(points)
        return slopes[0] + jnp.sum(slopes[1:] - slopes[0], 0) / (2.0 * REACH**2)

    def place(g: Array, d: Array) -> Place:
        there = given(g, d)
        height = f(joined(g, there.location)) - jnp.sum(jnp.log(jnp.diag(there.factor)))
        height = jnp.where(jnp.isfinite(height), height, -jnp.inf)
        values, vectors = clamped(there.curvature, FLOOR, jnp.inf)
        step = vectors @ ((vectors.T @ jnp.nan_to_num(marginal_slope(g, there))) / values)
        return Place(g, there.location, height, jnp.clip(step, -LONGEST, LONGEST), there.moves)

    def ascend(state: tuple[Place, Array, Array], number: Array) -> tuple[tuple[Place, Array, Array], None]:
        """Looks at one more place, and goes on from the highest; a step that did not lead up is taken shorter."""
        best, ahead, length = state
        seen = place(best.g + ahead, jnp.where(number == 1, 0.0, best.d + best.moves @ ahead))
        higher = seen.height > best.height
        best = jax.tree.map(lambda new, old: jnp.where(higher, new, old), seen, best)
        length = jnp.where(higher, 1.0, 0.3 * length)
        return (best, jnp.where(number == 0, -best.g, length * best.step), length), None

    begin = jax.tree.map(jnp.zeros_like, jax.eval_shape(place, start[outer], start[inner]))
    begin = begin._replace(g=start[outer], d=start[inner], height=-jnp.inf)
    begin = begin, jnp.zeros(len(outer)), jnp.ones(())
    (g, d, *_), *_ = jax.lax.scan(ascend, begin, jnp.arange(STEPS))[0]
    there = given(g, d)
    marginal = Frame(g, cholesky_of(*clamped(there.curvature, FLOOR, jnp.inf)))

    def moves(at: Array) -> Array:
        return given(at, there.location + there.moves @ (at - g)).moves

    ahead, behind = jnp.split(jax.vmap(moves)(cubature(marginal)[1:]), 2)
    second = jnp.einsum("ilg,hi->lgh", ahead - behind, marginal.factor) / (2.0 * REACH)
    shear = Shear(g, (second + jnp.swapaxes(second, 1, 2)) / 2, plated)
    rows = jnp.zeros((len(plated), len(plated)))
    rows = rows.at[: len(inner), inner].set(there.factor.T).at[: len(inner), outer].set(-there.factor.T @ there.moves)
    rows = rows.at[len(inner) :, outer].set(marginal.factor.T)
    return Frame(joined(g, there.location), lower_factor(rows)), shear
