"""A precision matrix by its Cholesky factor."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float

SHIFT = 1e-3
"""First number added to the diagonal where a matrix is not positive definite, as a share of the
largest entry there; ten times as much until it is."""


class CholeskyPrecision(NamedTuple):
    """A symmetric positive definite matrix L L'.

    >>> matrix = CholeskyPrecision.of(jnp.array([[4.0, 0.0], [0.0, 9.0]]))
    >>> matrix.solve(jnp.array([4.0, 9.0])).tolist(), matrix.spread(jnp.ones(2)).tolist()[0]
    ([1.0, 1.0], 0.5)
    """

    factor: Float[Array, "P P"]

    @classmethod
    def of(cls, matrix: Float[Array, "P P"]) -> "CholeskyPrecision":
        """The factor of a matrix, to whose diagonal is added what makes it positive definite."""
        most = jnp.max(jnp.abs(jnp.diagonal(matrix)))
        unit = jnp.eye(len(matrix), dtype=matrix.dtype)

        def failed(state: tuple[Array, Array]) -> Array:
            return jnp.isnan(state[1][-1, -1]) & (state[0] < 10.0)

        def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
            share = jnp.maximum(10.0 * state[0], SHIFT)
            return share, jnp.linalg.cholesky(matrix + share * most * unit)

        begin = jnp.zeros((), matrix.dtype), jnp.linalg.cholesky(matrix)
        return cls(jax.lax.while_loop(failed, again, begin)[1])

    @classmethod
    def identity(cls, size: int) -> "CholeskyPrecision":
        """The unit matrix."""
        return cls(jnp.eye(size))

    def solve(self, right: Float[Array, " P"]) -> Float[Array, " P"]:
        """The inverse times a vector."""
        return cho_solve((self.factor, True), right)

    def spread(self, z: Float[Array, " P"]) -> Float[Array, " P"]:
        """A draw of the normal distribution with this precision, from a standard normal one."""
        return solve_triangular(self.factor, z, lower=True, trans=1)

    def squared(self, x: Float[Array, " P"]) -> Float[Array, ""]:
        """x' times the matrix times x."""
        return jnp.sum((x @ self.factor) ** 2)

    def log_det(self) -> Float[Array, ""]:
        """The logarithm of the determinant."""
        return 2.0 * jnp.sum(jnp.log(jnp.diagonal(self.factor)))
