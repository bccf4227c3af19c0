"""Full-covariance Gaussian."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.density import Density


class Gaussian(Density):
    """u = T (z - shift) is standard normal; T is lower triangular with a positive diagonal."""

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)

    def __init__(self, size: int) -> None:
        self.size = size
        self.coefficients = size + size * (size + 1) // 2

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """log N(T (z - shift); 0, I) + log |det T|."""
        shift, factor = affine(coefficients, self.size)
        return log_normal(factor @ (z - shift)) + jnp.sum(jnp.log(jnp.diag(factor)))

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws z = shift + T^-1 u and their log densities."""
        shift, factor = affine(coefficients, self.size)
        u = jr.normal(key, (draws, self.size))
        z = shift + u @ solve_triangular(factor, jnp.eye(self.size), lower=True).T
        return z, log_normal(u) + jnp.sum(jnp.log(jnp.diag(factor)))


def affine(
    coefficients: Float[Array, " K"], size: int
) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
    """Shift and lower-triangular factor; at zero coefficients 0 and I. Log diagonals are bounded by
    3.
    """
    shift, rest = coefficients[:size], coefficients[size : size + size * (size + 1) // 2]
    below = lower_triangular(rest, size)
    return shift, jnp.tril(below, -1) + jnp.diag(jnp.exp(3.0 * jnp.tanh(jnp.diag(below) / 3.0)))


def lower_triangular(
    entries: Float[Array, " K"], size: int, offset: int = 0
) -> Float[Array, "P P"]:
    """The matrix with these entries row by row on and below a diagonal, the main one or `offset`
    above it.

    Gathered: a scatter costs several times that to compile and to run.
    """
    place = np.zeros((size, size), np.int32)
    place[np.tril_indices(size, offset)] = 1 + np.arange(len(entries))
    return jnp.append(0.0, entries)[place]


def log_normal(u: Float[Array, "*S P"]) -> Float[Array, "*S"]:
    """Log density of the standard normal on R^P."""
    return -0.5 * jnp.sum(u * u, -1) - 0.5 * u.shape[-1] * jnp.log(2.0 * jnp.pi)
