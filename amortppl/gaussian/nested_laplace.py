"""The frame of a hierarchical model: what lies in plates is integrated out before the rest is
placed.

With theta = (g, d), d the latents in plates, the mode of the joint density says little of where its
mass lies: where d = (effect - location) / scale, the width of d falls with the scale, which the
mode does not see. So the rest is placed by its own marginal density, whose gradient is that of the
joint averaged over d (Fisher's identity),

    grad log p(g, D) = E_{d | g, D} grad_g log p(g, d, D),

over a Gaussian at the mode of d given g, at cubature points: exact where d is Gaussian given g.
Rue, Martino and Chopin 2009, "Approximate Bayesian inference for latent Gaussian models by using
integrated nested Laplace approximations", JRSS B 71; Louis 1982, "Finding the observed information
matrix when using the EM algorithm", JRSS B 44.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import REACH
from amortppl.gaussian.frame import (
    Frame,
    LogDensity,
    cholesky_of,
    clip_norm,
    clipped_eigh,
    lower_factor,
)
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.funnel_fit import fit_funnel
from amortppl.gaussian.newton import FLOOR
from amortppl.gaussian.plates import Plates

STEPS = 48
"""Newton steps of g, each with one of d."""

LONGEST, SHORT = 16.0, 3.0
"""How far one of g may go in each direction, and one of d after one that did not lead up, in prior
sds.
"""

LIKELY = 2.0
"""Places of g within so many prior sds are looked at first."""

FLAT = 1.0
"""Where g's marginal is flatter than a prior of unit scale, it is looked around, and framed, as if
it were not.
"""

EXACT = 0.02
"""Relative rounding beyond which curvature is taken from heights around instead: these lose nothing
where the noise is
thousands of times smaller than what it is added to, as float32 does of differences between second
derivatives."""


class Place(NamedTuple):
    """A place on the way up.

    Attributes:
        g, d: where, d after a Newton step to its mode given g.
        height: Laplace's approximation of log p(g, D).
        step: from g, by Newton.
        factor: of the precision of d given g.
        moves: how d's mode moves with g.
        values, vectors: of -Hessian of log p(g, D), the values clamped.
        rounding: of the values, which are differences of larger ones.
    """

    g: Float[Array, " G"]
    d: Float[Array, " L"]
    height: Float[Array, ""]
    step: Float[Array, " G"]
    factor: Float[Array, "L L"]
    moves: Float[Array, "L G"]
    values: Float[Array, " G"]
    vectors: Float[Array, "G G"]
    rounding: Float[Array, " G"]


def nested_laplace(
    f: LogDensity, start: Float[Array, " P"], plates: Plates
) -> tuple[Frame, Funnel]:
    """The Laplace approximation of g's marginal, and d given g: a Gaussian in coordinates that
    follow d.

    Args:
        f: log joint density, in coordinates where the prior has unit scale.
        start: its mode, about, if it has one: that of effects and their own scale may be where the
            scale is zero. So other places are looked at too: that one held to `LIKELY`, and the
            prior's centre.
        plates: which latents are d: some, not all.

    Returns:
        A frame in the coordinates of the funnel, and the funnel.
    """
    best, heights, modes, moves, logs = _highest(partial(_place, f, plates), *plates.parted(start))
    ahead, behind = jnp.split(heights, 2)
    seen = jnp.maximum(best.values, FLAT) * jnp.maximum(
        (2.0 * best.height - ahead - behind) / REACH**2, FLOOR
    )
    values = jnp.maximum(jnp.where(best.rounding > EXACT * best.values, seen, best.values), FLAT)
    roots = jnp.sqrt(jnp.maximum(best.values, FLAT))
    axes, units = (best.vectors * roots).T, best.vectors / roots
    widths = -jnp.log(jnp.diag(best.factor)), -logs
    curve = (best.d, modes), (best.moves @ units, moves @ units)
    funnel = fit_funnel(best.g, axes, *curve, widths, plates.plated)
    of_g, none = cholesky_of(values, best.vectors).T, jnp.zeros((len(best.g), len(best.d)))
    rows = plates.joined(-best.factor.T @ best.moves, best.factor.T), plates.joined(of_g, none)
    return Frame(plates.joined(best.g, best.d), lower_factor(jnp.concatenate(rows))), funnel


def _place(f: LogDensity, plates: Plates, g: Array, d: Array, longest: Array) -> Place:
    """The place at g, after a Newton step of d no longer than that."""
    joined = partial(plates.joined, g)
    (_, slope), bends = plates.blocks(f, joined(d))
    slope, bend, across, own = (jnp.nan_to_num(a) for a in (slope, *bends))
    values, vectors = clipped_eigh(own, FLOOR, jnp.inf)
    factor = cholesky_of(values, vectors)
    step, moves = (
        vectors @ ((vectors.T @ a) / values[:, None]) for a in (slope[:, None], -across.T)
    )
    d = d + clip_norm(step[:, 0], longest)
    beside = (
        REACH * solve_triangular(factor, plates.together.T, lower=True, trans=1).T
    )  # of independent parts at once
    heights, slopes = jax.vmap(lambda d: jax.value_and_grad(f)(joined(d)))(
        jnp.concatenate([d[None], d + beside, d - beside])
    )
    height = heights[0] - jnp.sum(jnp.log(jnp.diag(factor)))
    height = jnp.where(jnp.isfinite(height), height, -jnp.inf)
    slopes = plates.parted(slopes)[0]
    slope = slopes[0] + jnp.sum(slopes[1:] - slopes[0], 0) / (2.0 * REACH**2)
    values, vectors = clipped_eigh(jnp.nan_to_num(bend + across @ moves), FLOOR, jnp.inf)
    step = vectors @ ((vectors.T @ jnp.nan_to_num(slope)) / values)
    rounding = jnp.finfo(bend.dtype).eps * jnp.abs(jnp.sum(vectors * (bend @ vectors), 0))
    return Place(g, d, height, step, factor, moves, values, vectors, rounding)


def _highest(
    place: Callable[..., Place], g: Array, d: Array
) -> tuple[Place, Array, Array, Array, Array]:
    """Climbs from a place; then looks around the highest seen, at the cubature points of g's
    marginal there.

    All in one loop: what it holds is dear to compile.

    Returns:
        The highest place; at the points ahead and behind `height`, (2G,), `d`, (2G, L), `moves`,
        (2G, L, G), and the log diagonal of `factor`, (2G, L).
    """

    def look(
        state: tuple[Place, Array, Array, Array], at: tuple[Array, Array]
    ) -> tuple[tuple, tuple[Array, ...]]:
        """At one more place: the next step is longer after one that led up, shorter after one that
        led down.
        """
        (best, ahead, length, last), (number, axis) = state, at
        afar, around = (number > 0) & (number < 3), number >= STEPS
        beside = jnp.where(
            afar, 0.0, jnp.where(around & (number % 2 == 1), last, best.d + best.moves @ ahead)
        )
        seen = place(best.g + ahead, beside, jnp.where((length < 1.0) & ~around, SHORT, jnp.inf))
        rounding = 8 * jnp.finfo(seen.height.dtype).eps * jnp.abs(best.height)
        higher, lower = seen.height > best.height + rounding, seen.height < best.height - rounding
        kept = lower | around  # but not where it is as high: there, d is nearer its mode
        best = jax.tree.map(lambda new, old: jnp.where(kept, old, new), seen, best)
        length = jnp.where(
            lower, 0.3 * jnp.minimum(length, 1.0), jnp.where(higher, 2.0, 1.0) * length
        )
        length = jnp.where(number < 3, 1.0, jnp.minimum(length, LONGEST))
        step = jnp.clip(jnp.minimum(length, 1.0) * best.step, -length, length)
        step = jnp.where(number == 0, jnp.clip(best.g, -LIKELY, LIKELY) - best.g, step)
        step = jnp.where(number == 1, -best.g, jnp.where(number == STEPS - 2, 0.0, step))
        step = jnp.where(
            number < STEPS - 1,
            step,
            best.vectors @ (axis / jnp.sqrt(jnp.maximum(best.values, FLAT))),
        )
        return (best, step, length, seen.d), (
            seen.height,
            seen.d,
            seen.moves,
            jnp.log(jnp.diag(seen.factor)),
        )

    begin = jax.tree.map(jnp.zeros_like, jax.eval_shape(place, g, d, jnp.ones(())))
    begin = begin._replace(g=g, d=d, height=jnp.finfo(g.dtype).min)
    reach = REACH * jnp.eye(len(g))
    around = jnp.repeat(
        jnp.concatenate([reach, -reach]), 2, 0
    )  # at each twice: a mode, then its derivatives there
    axes = jnp.concatenate(
        [jnp.zeros((STEPS - 1, len(g))), around, reach[:1]]
    )  # of the step after each look
    start = begin, jnp.zeros_like(g), jnp.ones(()), d
    (best, *_), seen = jax.lax.scan(look, start, (jnp.arange(len(axes)), axes))
    return best, *(a[STEPS + 1 :: 2] for a in seen)
