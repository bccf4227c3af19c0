"""Independent Gaussians: for many latents, where a full covariance has more coefficients than data teach."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.density import Density
from amortppl.densities.gaussian import log_normal


class Diagonal(Density):
    """exp(s) (z - shift) is standard normal; s is bounded by 3."""

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)

    def __init__(self, size: int) -> None:
        self.size = size
        self.coefficients = 2 * size

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """log N(exp(s) (z - shift); 0, I) + sum s."""
        shift, log_scale = self._parts(coefficients)
        return log_normal(jnp.exp(log_scale) * (z - shift)) + jnp.sum(log_scale)

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws z = shift + exp(-s) u and their log densities."""
        shift, log_scale = self._parts(coefficients)
        u = jr.normal(key, (draws, self.size))
        return shift + jnp.exp(-log_scale) * u, log_normal(u) + jnp.sum(log_scale)

    def _parts(self, coefficients: Float[Array, " K"]) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
        return coefficients[: self.size], 3.0 * jnp.tanh(coefficients[self.size :] / 3.0)
