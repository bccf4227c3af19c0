"""Mixture of full-covariance Gaussians. Bishop 1994, "Mixture density networks"."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.lax import erf_inv
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.density import Density
from amortppl.densities.gaussian import Gaussian, affine

LOWEST = float(np.nextafter(np.float32(-1.0), np.float32(0.0)))
"""The lowest number above -1, where `erf_inv` is finite."""


class Mixture(Density):
    """sum_m w_m N(z; shift_m, (T_m' T_m)^-1), the weights a softmax of the first M coefficients.

    Components start a little apart along the diagonal, so that training can tell them from one
    another.
    """

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)
    components: int = eqx.field(static=True)
    part: Gaussian

    def __init__(self, size: int, components: int = 4) -> None:
        self.size, self.components, self.part = size, components, Gaussian(size)
        self.coefficients = components * (1 + self.part.coefficients)

    def _parts(
        self, coefficients: Float[Array, " K"]
    ) -> tuple[Float[Array, " M"], Float[Array, "M C"]]:
        weights, rest = (
            coefficients[: self.components],
            coefficients[self.components :].reshape(self.components, -1),
        )
        return jax.nn.log_softmax(weights), rest

    def initial(self) -> Float[Array, " K"]:
        """Equal weights, unit scales, centres from -1/2 to 1/2 along the diagonal."""
        parts = jnp.zeros((self.components, self.part.coefficients))
        parts = parts.at[:, : self.size].set(jnp.linspace(-0.5, 0.5, self.components)[:, None])
        return jnp.concatenate([jnp.zeros(self.components), parts.ravel()])

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """Log density of one point."""
        log_weights, parts = self._parts(coefficients)
        return logsumexp(log_weights + jax.vmap(self.part.log_prob, in_axes=(None, 0))(z, parts))

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws and their log densities. Weights get no gradient through the draws."""
        log_weights, parts = self._parts(coefficients)
        # One call for the choice and the normal numbers: each costs much to compile.
        uniform = jr.uniform(key, (self.size + 1, draws), minval=LOWEST, maxval=1.0)
        u = np.sqrt(2.0) * erf_inv(uniform[1:])
        pick = jnp.sum(uniform[0] > 2.0 * jnp.cumsum(jnp.exp(log_weights))[:-1, None] - 1.0, 0)
        shift, factor = jax.vmap(lambda c: affine(c, self.size))(parts)
        spread = jax.vmap(lambda t: solve_triangular(t, jnp.eye(self.size), lower=True))(factor)
        placed = _stack(spread, u) + shift[:, :, None]
        z = jnp.take_along_axis(placed, pick[None, None], 0)[0]
        apart = _stack(factor, z) - jnp.einsum("mij,mj->mi", factor, shift)[:, :, None]
        log_scale = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)), -1)
        level = (log_weights + log_scale - 0.5 * self.size * jnp.log(2.0 * jnp.pi))[:, None]
        return z.T, logsumexp(level - 0.5 * jnp.sum(apart**2, 1), axis=0)


def _stack(matrices: Float[Array, "M P P"], columns: Float[Array, "P S"]) -> Float[Array, "M P S"]:
    """Every matrix times all columns, as one product."""
    count, size, _ = matrices.shape
    return (matrices.reshape(count * size, size) @ columns).reshape(count, size, -1)
