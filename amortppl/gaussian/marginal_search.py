"""The search for the mode of a marginal density, log p(g, D) with the latents in plates, d, out.

A damped Newton ascent (see `amortppl.gaussian.newton`) that evaluates one point a step. Each
evaluation takes a Newton step of d to its mode given g, and averages the joint's gradient over d.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import REACH
from amortppl.gaussian.frame import LogDensity, clip_norm, clipped_eigh
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
    """The marginal density and what is known of it at one g.

    Attributes:
        g, d: where, d after a Newton step to its mode given g.
        height: Laplace's approximation of log p(g, D).
        step: Newton's, from g.
        factor: lower Cholesky factor of the precision of d given g.
        mode_gradient: derivative of d's mode by g.
        values, vectors: spectrum of -Hessian of log p(g, D), the values at least `FLOOR`.
        rounding: error of the values, which are differences of larger ones.
    """

    g: Float[Array, " G"]
    d: Float[Array, " L"]
    height: Float[Array, ""]
    step: Float[Array, " G"]
    factor: Float[Array, "L L"]
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


class _Ascent(NamedTuple):
    """The best point so far, the step from it to the next, a bound on it, and d evaluated last."""

    best: Point
    step: Float[Array, " G"]
    length: Float[Array, ""]
    last: Float[Array, " L"]


def evaluate(f: LogDensity, plates: Plates, g: Array, d: Array, longest: Array) -> Point:
    """The marginal at g, after a Newton step of d of at most the length `longest`."""
    joined = partial(plates.join, g)
    (_, gradient), blocks = plates.blocks(f, joined(d))
    gradient, of_g, across, of_d = (jnp.nan_to_num(a) for a in (gradient, *blocks))
    conditional = clipped_eigh(of_d, FLOOR, jnp.inf)
    factor = conditional.cholesky()
    step, mode_gradient = (conditional.solve(a) for a in (gradient[:, None], -across.T))
    d = d + clip_norm(step[:, 0], longest)
    heights, gradients = jax.vmap(lambda d: jax.value_and_grad(f)(joined(d)))(
        _points_of_d(plates, d, factor)
    )
    height = heights[0] - jnp.sum(jnp.log(jnp.diag(factor)))
    height = jnp.where(jnp.isfinite(height), height, -jnp.inf)
    gradients = plates.split(gradients)[0]
    average = gradients[0] + jnp.sum(gradients[1:] - gradients[0], 0) / (2.0 * REACH**2)
    marginal = clipped_eigh(jnp.nan_to_num(of_g + across @ mode_gradient), FLOOR, jnp.inf)
    step = marginal.solve(jnp.nan_to_num(average))
    vectors = marginal.vectors
    rounding = jnp.finfo(of_g.dtype).eps * jnp.abs(jnp.sum(vectors * (of_g @ vectors), 0))
    return Point(g, d, height, step, factor, mode_gradient, *marginal, rounding)


def _points_of_d(plates: Plates, d: Array, factor: Array) -> Float[Array, "K L"]:
    """Cubature points of d given g; independent parts of d share theirs."""
    beside = REACH * solve_triangular(factor, plates.independent_sets.T, lower=True, trans=1).T
    return jnp.concatenate([d[None], d + beside, d - beside])


def search(point_at: Callable[..., Point], g: Array, d: Array) -> tuple[Point, Surroundings]:
    """Climbs to the highest point, then evaluates the cubature points around it.

    Both are steps of one loop, because the program of an evaluation is dear to compile. A point
    around the mode is evaluated twice: the first evaluation places d, the second differentiates
    there.

    Args:
        point_at: (g, d, longest step of d) -> point.
        g, d: where to start. The second and the third point are the start clipped to `LIKELY`,
            and the prior's centre.
    """

    def visit(now: _Ascent, at: tuple[Array, Array]) -> tuple[_Ascent, tuple[Array, ...]]:
        number, axis = at
        around = number >= STEPS
        longest = jnp.where((now.length < 1.0) & ~around, SHORT, jnp.inf)
        point = point_at(now.best.g + now.step, _start_of_d(now, number), longest)
        best, higher, lower = _better(now.best, point, around)
        length = _next_length(now.length, higher, lower, number)
        after = _Ascent(best, _next_step(best, length, number, axis), length, point.d)
        log_scales = jnp.log(jnp.diag(point.factor))
        return after, (point.height, point.d, point.mode_gradient, log_scales)

    none = jax.tree.map(jnp.zeros_like, jax.eval_shape(point_at, g, d, jnp.ones(())))
    begin = none._replace(g=g, d=d, height=jnp.finfo(g.dtype).min)
    reach = REACH * jnp.eye(len(g))
    around = jnp.repeat(jnp.concatenate([reach, -reach]), 2, 0)
    # The axis along which each evaluation is followed by the next; the last has no successor.
    axes = jnp.concatenate([jnp.zeros((STEPS - 1, len(g))), around, reach[:1]])
    start = _Ascent(begin, jnp.zeros_like(g), jnp.ones(()), d)
    end, points = jax.lax.scan(visit, start, (jnp.arange(len(axes)), axes))
    return end.best, Surroundings(*(a[STEPS + 1 :: 2] for a in points))


def _start_of_d(now: _Ascent, number: Array) -> Float[Array, " L"]:
    """Where d starts: at its mode by extrapolation; far from the best point, at the prior's."""
    afar, around = (number > 0) & (number < 3), number >= STEPS
    second = around & (number % 2 == 1)
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


def _next_step(best: Point, length: Array, number: Array, axis: Array) -> Float[Array, " G"]:
    """From the best point: Newton's, damped; to the further starts; or to a cubature point."""
    step = jnp.clip(jnp.minimum(length, 1.0) * best.step, -length, length)
    step = jnp.where(number == 0, jnp.clip(best.g, -LIKELY, LIKELY) - best.g, step)
    step = jnp.where(number == 1, -best.g, jnp.where(number == STEPS - 2, 0.0, step))
    beside = best.vectors @ (axis / jnp.sqrt(jnp.maximum(best.values, FLAT)))
    return jnp.where(number < STEPS - 1, step, beside)
