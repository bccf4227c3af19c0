"""The search for the mode of a marginal density, log p(g, D) with the latents in plates, d, out.

A damped Newton ascent (see `amortppl.gaussian.newton`) that evaluates one point a step. Each
evaluation takes a Newton step of d to its mode given g, and averages the joint's gradient over d.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from amortppl.gaussian.block_diagonal import BlockSpectrum, invert_factors
from amortppl.gaussian.cubature import REACH
from amortppl.gaussian.frame import Spectrum, clip_norm, clipped_eigh
from amortppl.gaussian.newton import FLOOR
from amortppl.gaussian.plates import Plates

STEPS = 48
"""Newton steps of g, each with one of d."""

LONGEST, SHORT = 16.0, 3.0
"""Longest step of g in each direction, and of d after a step of g that led down, in prior sds."""

LIKELY = 2.0
"""Bound, in prior sds, of the second point evaluated: the start, each number clipped to it."""

FLAT = 1.0
"""Least curvature, in prior units, for the points around the mode and for the frame.

Where g's marginal is flatter than a prior of unit scale, it is treated as if it had that scale.
"""


class Point(NamedTuple):
    """The marginal density and its derivatives at one g.

    Attributes:
        g, d: where, d after a Newton step to its mode given g.
        height: Laplace's approximation of log p(g, D).
        step: Newton's, from g.
        factor: lower Cholesky factors of the precision of each part of d given g.
        mode_gradient: derivative of d's mode by g.
        values, vectors: spectrum of -Hessian of log p(g, D), the values at least `FLOOR`.
        rounding: error of the values, which are differences of larger ones.
    """

    g: Float[Array, " G"]
    d: Float[Array, " L"]
    height: Float[Array, ""]
    step: Float[Array, " G"]
    factor: Float[Array, "N S S"]
    mode_gradient: Float[Array, "L G"]
    values: Float[Array, " G"]
    vectors: Float[Array, "G G"]
    rounding: Float[Array, " G"]


class Surroundings(NamedTuple):
    """The marginal at the 2G cubature points of a Gaussian around its mode, ahead, then behind.

    Attributes:
        heights, modes, mode_gradients: as in `Point`.
        log_scales: log diagonal of the factor.
    """

    heights: Float[Array, " K"]
    modes: Float[Array, "K L"]
    mode_gradients: Float[Array, "K L G"]
    log_scales: Float[Array, "K L"]


class Ascent(NamedTuple):
    """The best point so far, the step from it to the next, a bound on it, and d evaluated last."""

    best: Point
    step: Float[Array, " G"]
    length: Float[Array, ""]
    last: Float[Array, " L"]


def condition(
    plates: Plates,
    at: Float[Array, " P"],
    gradient: Float[Array, " P"],
    products: Float[Array, "M P"],
    longest: Array,
) -> tuple[Point, Float[Array, " P"]]:
    """A point before its height and step are known, and Newton's step of all latents together.

    Args:
        plates: which latents are d.
        at: g and d, from where d takes a Newton step of at most the length `longest`.
        gradient, products: of the log joint there, the latter with `plates.directions`.
        longest: in prior sds.
    """
    (g, d), (by_g, by_d) = plates.split(at), plates.split(jnp.nan_to_num(gradient))
    of_g, across, of_d = plates.blocks(jnp.nan_to_num(products))
    conditional = BlockSpectrum.clip(of_d, FLOOR)
    solve = lambda right: plates.flat(conditional.solve(plates.by_part(right)))  # noqa: E731
    step, mode_gradient = solve(by_d), -solve(across).T
    marginal = clipped_eigh(jnp.nan_to_num(of_g + across @ mode_gradient), FLOOR, jnp.inf)
    of_step = marginal.solve(by_g + by_d @ mode_gradient)
    together = plates.join(of_step, step + mode_gradient @ of_step)
    vectors = marginal.vectors
    rounding = jnp.finfo(of_g.dtype).eps * jnp.abs(jnp.sum(vectors * (of_g @ vectors), 0))
    height, moved = jnp.zeros((), at.dtype), d + clip_norm(step, longest)
    factor = conditional.cholesky()
    point = Point(g, moved, height, of_step, factor, mode_gradient, *marginal, rounding)
    return point, together


def points_of_d(plates: Plates, point: Point) -> Float[Array, "K P"]:
    """Cubature points of d given g; independent parts of d share theirs. K = 1 + 2S."""
    inverse = invert_factors(point.factor)
    beside = REACH * plates.flat(jnp.swapaxes(inverse, 0, 1))
    d = jnp.concatenate([point.d[None], point.d + beside, point.d - beside])
    return plates.join(jnp.broadcast_to(point.g, (len(d), len(point.g))), d)


def average(
    plates: Plates, point: Point, heights: Float[Array, " K"], gradients: Float[Array, "K P"]
) -> Point:
    """The point with its height and step, from heights and gradients at `points_of_d`."""
    height = heights[0] - jnp.sum(log_scales(plates, point))
    height = jnp.where(jnp.isfinite(height), height, -jnp.inf)
    by_g = plates.split(gradients)[0]
    mean = by_g[0] + jnp.sum(by_g[1:] - by_g[0], 0) / (2.0 * REACH**2)
    step = Spectrum(point.values, point.vectors).solve(jnp.nan_to_num(mean))
    return point._replace(height=height, step=step)


def log_scales(plates: Plates, point: Point) -> Float[Array, " L"]:
    """Log diagonal of the factor of d's precision given g."""
    return jnp.log(plates.flat(jnp.diagonal(point.factor, axis1=1, axis2=2)))


def visits(steps: int, outer: int) -> Float[np.ndarray, "V G"]:
    """For each evaluation of a search the axis along which the next one lies, of 4G at the end.

    The cubature points around the mode are evaluated twice each: the first evaluation places d, the
    second differentiates there.
    """
    reach = REACH * np.eye(outer)
    around = np.repeat(np.concatenate([reach, -reach]), 2, 0)
    # The last evaluation has no successor.
    return np.concatenate([np.zeros((steps - 1, outer)), around, reach[:1]])


def follow(
    now: Ascent, point: Point, number: Array, steps: int, axis: Float[Array, " G"]
) -> Ascent:
    """The ascent after the evaluation of a point, by its number among all."""
    best, higher, lower = _better(now.best, point, number >= steps)
    length = _next_length(now.length, higher, lower, number)
    return Ascent(best, _next_step(best, length, number, steps, axis), length, point.d)


def next_place(now: Ascent, number: Array, steps: int) -> tuple[Float[Array, " G"], Array, Array]:
    """g and d to evaluate next, and the longest step of d there."""
    longest = jnp.where((now.length < 1.0) & (number < steps), SHORT, jnp.inf)
    return now.best.g + now.step, _start_of_d(now, number, steps), longest


def _start_of_d(now: Ascent, number: Array, steps: int) -> Float[Array, " L"]:
    """Where d starts: at its mode by extrapolation; far from the best point, at the prior's."""
    afar, around = (number > 0) & (number < 3), number >= steps
    second = around & ((number - steps) % 2 == 1)
    extrapolated = now.best.d + now.best.mode_gradient @ now.step
    return jnp.where(afar, 0.0, jnp.where(second, now.last, extrapolated))


def _better(best: Point, point: Point, around: Array) -> tuple[Point, Array, Array]:
    """The better of two points, and whether the new one is higher or lower than the old.

    A point that is as high but for rounding replaces the old one: there, d is nearer its mode.
    """
    rounding = 8 * jnp.finfo(point.height.dtype).eps * jnp.abs(best.height)
    higher, lower = point.height > best.height + rounding, point.height < best.height - rounding
    stay = lower | around
    return jax.tree.map(lambda new, old: jnp.where(stay, old, new), point, best), higher, lower


def _next_length(length: Array, higher: Array, lower: Array, number: Array) -> Array:
    """Twice as long after a step that led up, shorter after one that led down; 1 at the start."""
    grown = jnp.where(higher, 2.0, 1.0) * length
    length = jnp.where(lower, 0.3 * jnp.minimum(length, 1.0), grown)
    return jnp.where(number < 3, 1.0, jnp.minimum(length, LONGEST))


def _next_step(
    best: Point, length: Array, number: Array, steps: int, axis: Array
) -> Float[Array, " G"]:
    """From the best point: Newton's, damped; to the further starts; or to a cubature point."""
    step = jnp.clip(jnp.minimum(length, 1.0) * best.step, -length, length)
    step = jnp.where(number == 0, jnp.clip(best.g, -LIKELY, LIKELY) - best.g, step)
    step = jnp.where(number == 1, -best.g, jnp.where(number == steps - 2, 0.0, step))
    beside = best.vectors @ (axis / jnp.sqrt(jnp.maximum(best.values, FLAT)))
    return jnp.where(number < steps - 1, step, beside)
