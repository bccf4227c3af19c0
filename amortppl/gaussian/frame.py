"""What a step may see of the likelihood: gradient and curvature, in the whitened frame.

A frame is a Gaussian N(m, (C C')^-1) that stands where the posterior stands. With
u = m + C'^-1 z, the whitened gradient of a log density f is C^-1 grad f(u): for the frame itself
it is -z, so that all signals are of order one whatever the number of rows, and what is left,
r(z) = C^-1 grad f(u) + z, is exactly what is not Gaussian.

Signals are stopped: training never differentiates through a Hessian or a search.
"""

from collections.abc import Callable
from typing import NamedTuple

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

        Of many by the inverse: a triangular solve of some hundred columns is shared out among
        BLAS's threads, which then spin in wait for the next one.
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


def clipped_eigh(matrix: Float[Array, "P P"], low: float, high: float) -> tuple[Array, Array]:
    """Eigenvalues, in absolute value and clipped to [low, high], and eigenvectors of a symmetric
    matrix.
    """
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    return jnp.clip(jnp.abs(values), low, high), vectors


def clip_norm(step: Float[Array, "*S P"], longest: Array | float) -> Float[Array, "*S P"]:
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
