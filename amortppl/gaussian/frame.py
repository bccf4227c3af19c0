"""A Gaussian frame: the coordinates in which a step sees the likelihood's derivatives.

A frame is a Gaussian N(m, (C C')^-1) placed where the posterior is. With u = m + C'^-1 z, the
whitened gradient of a log density f is C^-1 grad f(u). For the frame itself it is -z. So all
signals are of order one whatever the number of rows, and the residual r(z) = C^-1 grad f(u) + z
is zero exactly where f is the frame.

Signals are under `stop_gradient`: training never differentiates through a Hessian or a search.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

LogDensity = Callable[[Float[Array, " P"]], Array]
Precision = Callable[[Float[Array, " P"]], Float[Array, "P P"]]


class Frame(NamedTuple):
    """Location m and the lower Cholesky factor C of the precision.

    >>> import jax.numpy as jnp
    >>> frame = Frame(jnp.array([1.0, 0.0]), jnp.diag(jnp.array([2.0, 4.0])))
    >>> frame.whiten(jnp.array([2.0, 1.0])).tolist()
    [2.0, 4.0]
    >>> frame.unwhiten(jnp.array([2.0, 4.0])).tolist()
    [2.0, 1.0]
    """

    location: Float[Array, " P"]
    factor: Float[Array, "P P"]

    def whiten(self, vector: Float[Array, " P"]) -> Float[Array, " P"]:
        """z = C'(u - m)."""
        return self.factor.T @ (vector - self.location)

    def unwhiten(self, whitened: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """u = m + C'^-1 z.

        Several vectors are multiplied by the inverse: BLAS shares a triangular solve of some
        hundred columns among threads, which then spin until the next one.
        """
        if whitened.ndim == 1:
            return self.location + solve_triangular(self.factor, whitened, lower=True, trans=1)
        return self.location + whitened @ self.inverse()

    def inverse(self) -> Float[Array, "P P"]:
        """C^-1."""
        return solve_triangular(self.factor, jnp.eye(len(self.location)), lower=True)

    def log_scale(self) -> Array:
        """log |det C|: the log density of u is that of z plus this."""
        return jnp.sum(jnp.log(jnp.abs(jnp.diag(self.factor))))


class Spectrum(NamedTuple):
    """A symmetric positive definite matrix V diag(values) V' by its eigenvalues and eigenvectors.

    >>> import jax.numpy as jnp
    >>> matrix = Spectrum(jnp.array([2.0, 4.0]), jnp.eye(2))
    >>> matrix.solve(jnp.array([2.0, 2.0])).tolist()
    [1.0, 0.5]
    """

    values: Float[Array, " P"]
    vectors: Float[Array, "P P"]

    def solve(self, right: Float[Array, "P *K"]) -> Float[Array, "P *K"]:
        """The matrix's inverse times a vector or the columns of a matrix."""
        values = self.values if right.ndim == 1 else self.values[:, None]
        return self.vectors @ ((self.vectors.T @ right) / values)

    @classmethod
    def identity(cls, size: int) -> "Spectrum":
        """The unit matrix."""
        return cls(jnp.ones(size), jnp.eye(size))

    def spread(self, z: Float[Array, " P"]) -> Float[Array, " P"]:
        """A draw of the normal distribution with this precision, from a standard normal one."""
        return self.vectors @ (z / jnp.sqrt(self.values))

    def squared(self, x: Float[Array, " P"]) -> Float[Array, ""]:
        """x' times the matrix times x."""
        return jnp.sum(self.values * (x @ self.vectors) ** 2)

    def log_det(self) -> Float[Array, ""]:
        """The logarithm of the determinant."""
        return jnp.sum(jnp.log(self.values))

    def cholesky(self) -> Float[Array, "P P"]:
        """Its lower Cholesky factor; see `cholesky_of`."""
        return cholesky_of(self.values, self.vectors)


def clipped_eigh(matrix: Float[Array, "P P"], low: float, high: float) -> Spectrum:
    """The spectrum of a symmetric matrix, absolute eigenvalues clipped to [low, high].

    >>> import jax.numpy as jnp
    >>> clipped_eigh(jnp.diag(jnp.array([-2.0, 0.1])), 0.5, 10.0).values.tolist()
    [2.0, 0.5]
    """
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    return Spectrum(jnp.clip(jnp.abs(values), low, high), vectors)


def clip_norm(step: Float[Array, "*S P"], longest: Array | float) -> Float[Array, "*S P"]:
    """A step, or several, scaled down to the norm `longest` where longer.

    >>> import jax.numpy as jnp
    >>> round(float(jnp.linalg.norm(clip_norm(jnp.array([6.0, 8.0]), 5.0))), 3)
    5.0
    """
    return step * jnp.minimum(1.0, longest / (jnp.linalg.norm(step, axis=-1, keepdims=True) + 1e-9))


def cholesky_of(values: Float[Array, " P"], vectors: Float[Array, "P P"]) -> Float[Array, "P P"]:
    """Lower Cholesky factor of V diag(values) V', by QR of sqrt(values) V'.

    The matrix is never formed: in float32 its Cholesky factorisation fails once the eigenvalues
    span more than about 1e7.

    >>> import jax.numpy as jnp
    >>> cholesky_of(jnp.array([4.0, 9.0]), jnp.eye(2)).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    return lower_factor(jnp.sqrt(values)[:, None] * vectors.T)


def lower_factor(rows: Float[Array, "R P"]) -> Float[Array, "P P"]:
    """Lower Cholesky factor of R'R, without forming it.

    >>> import jax.numpy as jnp
    >>> abs(lower_factor(jnp.array([[3.0], [4.0]]))).tolist()
    [[5.0]]
    """
    upper = jnp.linalg.qr(rows, mode="r")
    return (upper * jnp.sign(jnp.diag(upper))[:, None]).T
