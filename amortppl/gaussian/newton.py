"""Damped Newton steps to a mode, and the curvature of a log density there."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.frame import Frame, LogDensity, cholesky_of, clip_norm, clipped_eigh


def curvature(f: LogDensity, at: Float[Array, " P"]) -> Float[Array, "P P"]:
    """-Hessian of a log density."""
    return -jax.hessian(f)(at)


def gradient_and_curvature(
    f: Callable[..., Array], at: Float[Array, " P"], *among: Array
) -> tuple[Array, Array]:
    """Gradient and -Hessian of a log density."""

    def slope_of(at: Array) -> tuple[Array, Array]:
        slope = jax.grad(f)(at, *among)
        return slope, slope

    hessian, slope = jax.jacfwd(slope_of, has_aux=True)(at)
    return slope, -hessian


def outer_products(
    rows: Callable[[Array], Float[Array, " N"]], at: Float[Array, " P"]
) -> Float[Array, "P P"]:
    """Sum over rows of their scores' outer products, s_i s_i' with s_i the gradient of row i's log
    density.

    Its expectation under the rows' own distribution is their Fisher information.
    """
    scores = jax.jacfwd(rows)(at)
    return scores.T @ scores


STEP_SIZES = (3.0, 1.0, 0.4, 0.1, 0.02)
"""Tried at once along each Newton direction, and to stay: above 1 for scale parameters that start
too small,
where exponential curvature makes Newton steps too short; below 1 where it makes them too long."""


FLOOR = 0.03
"""The least curvature that a Newton step goes by, in prior units."""


def newton_mode(
    f: Callable[..., Array],
    start: Float[Array, "*S P"],
    stand_in: Callable[..., Array] | None,
    iterations: int,
    few: int = 0,
    bound: float = 3.0,
    derivatives: Callable[..., tuple[Array, Array]] = gradient_and_curvature,
) -> Frame:
    """Damped Newton ascent of a log density, in coordinates where the prior has unit scale.

    Eigenvalues of the curvature are taken in absolute value (saddle-free), each step is bounded in
    length, and the best of a few multiples of it is taken, or none; then much shorter ones are
    tried.

    Args:
        f: log density of a point.
        start: where to begin: the highest of at most six points.
        stand_in: gives the curvature at a point; None for that of f itself.
        iterations: looks at the gradient and the curvature, each followed, but for the last, by a
            Newton step.
        few: in how many of them, the first, f and the curvature are those of a few rows, whose mode
            is near: these then get True as a second argument, False later.
        bound: the longest step, in prior standard deviations.
        derivatives: gives gradient and curvature of f at a point.

    Returns:
        The frame of the highest point reached and the curvature there.
    """
    sizes = jnp.array([0.0, *STEP_SIZES])[:, None]
    whole = jnp.where(
        sizes[:, 0] == 1.0, 8 * jnp.finfo(start.dtype).eps, 0.0
    )  # wins where heights differ by rounding

    def look(at: Array, *among: Array) -> tuple[Array, Array]:
        if stand_in is None:
            return derivatives(f, at, *among)
        return jax.grad(f)(at, *among), stand_in(at, *among)

    def ascend(state: tuple[Array, ...], step: Array) -> tuple[tuple[Array, ...], None]:
        points, length = state[:2]
        among = (step < few,) if few else ()
        heights = jax.vmap(lambda at: f(at, *among))(points)
        heights = jnp.nan_to_num(heights, nan=-jnp.inf, posinf=-jnp.inf)
        best = jnp.argmax(
            heights + whole * jnp.where(jnp.isfinite(heights[0]), jnp.abs(heights[0]), 0.0)
        )
        at = points[best]
        length = jnp.where((best > 0) | (step == 0) | (step == few), 1.0, 0.01 * length)
        slope, bend = look(at, *among)
        values, vectors = clipped_eigh(jnp.nan_to_num(bend), FLOOR, jnp.inf)
        multiples = length * sizes * jnp.nan_to_num(vectors @ ((vectors.T @ slope) / values))
        return (at + clip_norm(multiples, bound), length, at, values, vectors), None

    first, size = jnp.atleast_2d(start), start.shape[-1]
    first = jnp.concatenate([first, jnp.broadcast_to(first[:1], (len(sizes) - len(first), size))])
    begin = (first, jnp.ones(()), first[0], jnp.ones(size), jnp.eye(size))
    _, _, at, values, vectors = jax.lax.scan(ascend, begin, jnp.arange(iterations))[0]
    return Frame(at, cholesky_of(values, vectors))
