"""Damped Newton steps to a mode, and the curvature of a log density there.

Searches over the latents of a task take the step `clipped_eigh(curvature).solve(gradient)`:
Newton's with absolute eigenvalues (saddle-free), so that it leads uphill where the density is not
concave. Their loops differ, because the cost of an evaluation does:

- `newton_mode` evaluates several multiples of a step at once and takes the best;
- `amortppl.gaussian.nested_laplace` evaluates one point a step, since its program is large, and
  adapts the length.

`amortppl.task.quadrature.find_modes` shares neither: it climbs thousands of rows of a few numbers
each, where an eigendecomposition a row would cost more than the rest of the search. It factorizes
by pivots in absolute value, and each row shortens its own step.

Dauphin et al. 2014, "Identifying and attacking the saddle point problem in high-dimensional
non-convex optimization", arXiv 1406.2572.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.frame import Frame, LogDensity, Spectrum, clip_norm, clipped_eigh


def curvature(f: LogDensity, at: Float[Array, " P"]) -> Float[Array, "P P"]:
    """-Hessian of a log density."""
    return -jax.hessian(f)(at)


def gradient_and_curvature(
    f: Callable[..., Array], at: Float[Array, " P"], *among: Array
) -> tuple[Array, Array]:
    """Gradient and -Hessian of a log density, in one pass."""

    def gradient_of(at: Array) -> tuple[Array, Array]:
        gradient = jax.grad(f)(at, *among)
        return gradient, gradient

    hessian, gradient = jax.jacfwd(gradient_of, has_aux=True)(at)
    return gradient, -hessian


def differentiate(
    f: Callable[[Array], Array], at: Float[Array, " P"], along: Float[Array, " P"]
) -> tuple[Array, Array, Array]:
    """Height and gradient of a log density, and its Hessian times a vector."""
    (height, gradient), (_, product) = jax.jvp(jax.value_and_grad(f), (at,), (along,))
    return height, gradient, product


def outer_products(
    rows: Callable[[Array], Float[Array, " N"]], at: Float[Array, " P"]
) -> Float[Array, "P P"]:
    """Sum over rows of s_i s_i', s_i the gradient of row i's log density.

    Its expectation under the rows' own distribution is their Fisher information.
    """
    scores = jax.jacfwd(rows)(at)
    return scores.T @ scores


STEP_SIZES = (3.0, 1.0, 0.4, 0.1, 0.02)
"""Multiples of a Newton step tried at once, beside zero.

Above 1 for scale parameters that start too small, where exponential curvature makes Newton steps
too short; below 1 where it makes them too long.
"""

FLOOR = 0.03
"""Least eigenvalue of the curvature in a Newton step, in prior units."""


def newton_mode(
    f: Callable[..., Array],
    start: Float[Array, "*S P"],
    stand_in: Callable[..., Array] | None,
    iterations: int,
    few: int = 0,
    bound: float = 3.0,
) -> Frame:
    """Damped Newton ascent of a log density, in coordinates where the prior has unit scale.

    Each step is bounded in length; of it and a few multiples the best is taken. Where none leads
    up, the point stays and the next multiples are 100 times shorter.

    Args:
        f: log density of a point.
        start: the highest of these (at most six) points is where the ascent begins.
        stand_in: gives the curvature at a point; None for that of f itself.
        iterations: evaluations of gradient and curvature. Each but the last is followed by a step.
        few: how many of the first evaluations use a few rows alone, whose mode is near that of
            all: f and the curvature then get True as a second argument, False later.
        bound: the longest step, in prior standard deviations.

    Returns:
        The frame of the highest point reached and the curvature there.
    """
    sizes = jnp.array([0.0, *STEP_SIZES])[:, None]
    # The whole step is preferred to those whose heights differ from its own by rounding.
    whole = jnp.where(sizes[:, 0] == 1.0, 8 * jnp.finfo(start.dtype).eps, 0.0)

    def differentiate(at: Array, *among: Array) -> tuple[Array, Array]:
        if stand_in is None:
            return gradient_and_curvature(f, at, *among)
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
        gradient, matrix = differentiate(at, *among)
        spectrum = clipped_eigh(jnp.nan_to_num(matrix), FLOOR, jnp.inf)
        multiples = length * sizes * jnp.nan_to_num(spectrum.solve(gradient))
        return (at + clip_norm(multiples, bound), length, at, *spectrum), None

    first, size = jnp.atleast_2d(start), start.shape[-1]
    first = jnp.concatenate([first, jnp.broadcast_to(first[:1], (len(sizes) - len(first), size))])
    begin = (first, jnp.ones(()), first[0], jnp.ones(size), jnp.eye(size))
    _, _, at, values, vectors = jax.lax.scan(ascend, begin, jnp.arange(iterations))[0]
    return Frame(at, Spectrum(values, vectors).cholesky())
