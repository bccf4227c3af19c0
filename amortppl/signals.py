"""What a step may see of the likelihood: gradient and curvature, in the whitened frame.

A frame is a Gaussian N(m, (C C')^-1) that stands where the posterior stands. With
u = m + C'^-1 z, the whitened gradient of a log density f is C^-1 grad f(u): for the frame itself
it is -z, so that all signals are of order one whatever the number of rows, and what is left,
r(z) = C^-1 grad f(u) + z, is exactly what is not Gaussian.

Signals are stopped: training never differentiates through a Hessian or a search.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

LogDensity = Callable[[Float[Array, " P"]], Array]
Precision = Callable[[Float[Array, " P"]], Float[Array, "P P"]]


class Frame(NamedTuple):
    """Location m and the lower Cholesky factor C of the precision."""

    location: Float[Array, " P"]
    factor: Float[Array, "P P"]

    def whiten(self, vector: Float[Array, " P"]) -> Float[Array, " P"]:
        """z = C'(u - m)."""
        return self.factor.T @ (vector - self.location)

    def unwhiten(self, whitened: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """u = m + C'^-1 z.

        Of many by the inverse: a triangular solve of some hundred columns is shared out among BLAS's threads, which
        then spin in wait for the next one.
        """
        if whitened.ndim == 1:
            return self.location + solve_triangular(self.factor, whitened, lower=True, trans=1)
        return self.location + whitened @ self.inverse()

    def inverse(self) -> Float[Array, "P P"]:
        """C^-1."""
        return solve_triangular(self.factor, jnp.eye(len(self.location)), lower=True)

    def log_scale(self) -> Array:
        """log |det C|: log density of u is that of z plus this."""
        return jnp.sum(jnp.log(jnp.abs(jnp.diag(self.factor))))


def curvature(f: LogDensity, at: Float[Array, " P"]) -> Float[Array, "P P"]:
    """-Hessian of a log density."""
    return -jax.hessian(f)(at)


def slope_and_curvature(f: Callable[..., Array], at: Float[Array, " P"], *among: Array) -> tuple[Array, Array]:
    """Gradient and -Hessian of a log density."""

    def slope_of(at: Array) -> tuple[Array, Array]:
        slope = jax.grad(f)(at, *among)
        return slope, slope

    hessian, slope = jax.jacfwd(slope_of, has_aux=True)(at)
    return slope, -hessian


def outer_products(rows: Callable[[Array], Float[Array, " N"]], at: Float[Array, " P"]) -> Float[Array, "P P"]:
    """Sum over rows of their scores' outer products, s_i s_i' with s_i the gradient of row i's log density.

    Its expectation under the rows' own distribution is their Fisher information.
    """
    scores = jax.jacfwd(rows)(at)
    return scores.T @ scores


def clamped(matrix: Float[Array, "P P"], low: float, high: float) -> tuple[Array, Array]:
    """Eigenvalues, in absolute value and clipped to [low, high], and eigenvectors of a symmetric matrix."""
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    return jnp.clip(jnp.abs(values), low, high), vectors


def within(step: Float[Array, "*S P"], longest: Array | float) -> Float[Array, "*S P"]:
    """A step, or several, no longer than that."""
    return step * jnp.minimum(1.0, longest / (jnp.linalg.norm(step, axis=-1, keepdims=True) + 1e-9))


def cholesky_of(values: Float[Array, " P"], vectors: Float[Array, "P P"]) -> Float[Array, "P P"]:
    """Lower Cholesky factor of V diag(values) V' without forming it: QR of sqrt(values) V'.

    Forming the matrix fails in float32 once its eigenvalues span more than about 1e7.
    """
    return lower_factor(jnp.sqrt(values)[:, None] * vectors.T)


def lower_factor(rows: Float[Array, "R P"]) -> Float[Array, "P P"]:
    """Lower Cholesky factor of R'R, without forming it."""
    upper = jnp.linalg.qr(rows, mode="r")
    return (upper * jnp.sign(jnp.diag(upper))[:, None]).T


STEP_SIZES = (3.0, 1.0, 0.4, 0.1, 0.02)
"""Tried at once along each Newton direction, and to stay: above 1 for scale parameters that start too small,
where exponential curvature makes Newton steps too short; below 1 where it makes them too long."""


FLOOR = 0.03
"""The least curvature that a Newton step goes by, in prior units."""


def climb(
    f: Callable[..., Array],
    start: Float[Array, "*S P"],
    stand_in: Callable[..., Array] | None,
    iterations: int,
    few: int = 0,
    bound: float = 3.0,
    derivatives: Callable[..., tuple[Array, Array]] = slope_and_curvature,
) -> Frame:
    """Damped Newton ascent of a log density, in coordinates where the prior has unit scale.

    Eigenvalues of the curvature are taken in absolute value (saddle-free), each step is bounded in
    length, and the best of a few multiples of it is taken, or none; then much shorter ones are tried.

    Args:
        f: log density of a point.
        start: where to begin: the highest of at most six points.
        stand_in: gives the curvature at a point; None for that of f itself.
        iterations: looks at the gradient and the curvature, each followed, but for the last, by a Newton step.
        few: in how many of them, the first, f and the curvature are those of a few rows, whose mode is near:
            these then get True as a second argument, False later.
        bound: the longest step, in prior standard deviations.
        derivatives: gives gradient and curvature of f at a point.

    Returns:
        The frame of the highest point reached and the curvature there.
    """
    sizes = jnp.array([0.0, *STEP_SIZES])[:, None]
    whole = jnp.where(sizes[:, 0] == 1.0, 8 * jnp.finfo(start.dtype).eps, 0.0)  # wins where heights differ by rounding

    def look(at: Array, *among: Array) -> tuple[Array, Array]:
        if stand_in is None:
            return derivatives(f, at, *among)
        return jax.grad(f)(at, *among), stand_in(at, *among)

    def ascend(state: tuple[Array, ...], step: Array) -> tuple[tuple[Array, ...], None]:
        points, length = state[:2]
        among = (step < few,) if few else ()
        heights = jax.vmap(lambda at: f(at, *among))(points)
        heights = jnp.nan_to_num(heights, nan=-jnp.inf, posinf=-jnp.inf)
        best = jnp.argmax(heights + whole * jnp.where(jnp.isfinite(heights[0]), jnp.abs(heights[0]), 0.0))
        at = points[best]
        length = jnp.where((best > 0) | (step == 0) | (step == few), 1.0, 0.01 * length)
        slope, bend = look(at, *among)
        values, vectors = clamped(jnp.nan_to_num(bend), FLOOR, jnp.inf)
        multiples = length * sizes * jnp.nan_to_num(vectors @ ((vectors.T @ slope) / values))
        return (at + within(multiples, bound), length, at, values, vectors), None

    first, size = jnp.atleast_2d(start), start.shape[-1]
    first = jnp.concatenate([first, jnp.broadcast_to(first[:1], (len(sizes) - len(first), size))])
    begin = (first, jnp.ones(()), first[0], jnp.ones(size), jnp.eye(size))
    _, _, at, values, vectors = jax.lax.scan(ascend, begin, jnp.arange(iterations))[0]
    return Frame(at, cholesky_of(values, vectors))


REACH = 3**0.5
"""Distance of the cubature points, in whitened units: third-degree points with a centre, exact for
Gaussian moments along each axis up to the fifth (Julier and Uhlmann 1997)."""


def cubature(frame: Frame) -> Float[Array, "K P"]:
    """The 1 + 2P points of a frame: its centre, and those ahead and behind along each axis."""
    size = frame.location.shape[0]
    return frame.unwhiten(jnp.concatenate([jnp.zeros((1, size)), REACH * jnp.eye(size), -REACH * jnp.eye(size)]))


def whitened_gradients(
    f: LogDensity, frame: Frame, bound: float = 50.0
) -> tuple[Float[Array, " P"], Float[Array, "P P"], Float[Array, "P P"]]:
    """C^-1 grad f at z = 0, at z = +s e_i and at z = -s e_i (row i), s = `REACH`, clipped to the bound."""
    size = frame.location.shape[0]
    gradients = jax.vmap(jax.grad(f))(cubature(frame))
    whitened = solve_triangular(frame.factor, gradients.T, lower=True).T
    whitened = jnp.clip(jnp.nan_to_num(whitened, posinf=0.0, neginf=0.0), -bound, bound)
    return whitened[0], whitened[1 : size + 1], whitened[size + 1 :]


def averages(whitened: tuple[Array, Array, Array]) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
    """E grad f and -E hess f over a frame, from whitened gradients at its cubature points (Stein)."""
    centre, ahead, behind = whitened
    slope = centre + jnp.sum(ahead + behind - 2.0 * centre, 0) / (2.0 * REACH**2)
    bend = (behind - ahead) / (2.0 * REACH)
    return slope, (bend + bend.T) / 2


def settle(f: LogDensity, frame: Frame, sweeps: int) -> tuple[Frame, Float[Array, " R"]]:
    """Moves a frame to where the log density, averaged over the frame itself, is stationary.

    Each sweep is a damped step of Gaussian variational inference from gradients alone: the
    averages see skewness and tails that the curvature at the mode does not. Opper and Archambeau
    2009, "The variational Gaussian approximation revisited".

    Returns:
        The frame, and what is left in it: r(z) = C^-1 grad f + z at the centre and at each
        cubature point, P + 2 P^2 numbers, all zero when f is the frame itself.
    """
    reach = REACH * jnp.eye(frame.location.shape[0])

    def sweep(frame: Frame, _: None) -> tuple[Frame, tuple[Frame, Array]]:
        centre, ahead, behind = whitened = whitened_gradients(f, frame)
        left = jnp.concatenate([centre, jnp.ravel(ahead + reach), jnp.ravel(behind - reach)])
        slope, bend = averages(whitened)
        values, vectors = clamped(bend, 0.2, 5.0)
        shift = vectors @ ((vectors.T @ slope) / values)
        shift = shift / jnp.maximum(1.0, jnp.linalg.norm(shift))
        moved = Frame(frame.unwhiten(shift), frame.factor @ cholesky_of(values, vectors))
        return moved, (frame, left)

    frames, left = jax.lax.scan(sweep, frame, length=sweeps + 1)[1]
    return jax.tree.map(lambda a: a[-1], (frames, left))
