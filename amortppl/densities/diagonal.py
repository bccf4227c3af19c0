"""Independent latents, skewed and light- or heavy-tailed: for many, where a full covariance has
more coefficients than
data teach.

Jones and Pewsey 2009, "Sinh-arcsinh distributions".
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.density import Density
from amortppl.densities.gaussian import log_normal
from amortppl.densities.triangular import sinh_arcsinh


class Diagonal(Density):
    """u = sinh(b arcsinh(v) - a), v = exp(s) (z - shift), is standard normal; s is bounded by 3, a
    and b as those of
    `Triangular`."""

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)

    def __init__(self, size: int) -> None:
        self.size = size
        self.coefficients = 4 * size

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """log N(u; 0, I) + sum (log du/dv + s)."""
        shift, log_scale, skew, tail = self._parts(coefficients)
        u, log_slope = sinh_arcsinh(jnp.exp(log_scale) * (z - shift), skew, tail)
        return log_normal(u) + jnp.sum(log_slope + log_scale)

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws z = shift + exp(-s) sinh((arcsinh(u) + a) / b) and their log densities."""
        shift, log_scale, skew, tail = self._parts(coefficients)
        u = jr.normal(key, (draws, self.size))
        v = jnp.sinh((jnp.arcsinh(u) + skew) / tail)
        log_slope = jnp.log(tail) + 0.5 * (jnp.log1p(u * u) - jnp.log1p(v * v))
        return shift + jnp.exp(-log_scale) * v, log_normal(u) + jnp.sum(log_slope + log_scale, -1)

    def _parts(self, coefficients: Float[Array, " K"]) -> tuple[Float[Array, " P"], ...]:
        shift, scale, skew, tail = jnp.split(coefficients, 4)
        return (
            shift,
            3.0 * jnp.tanh(scale / 3.0),
            1.5 * jnp.tanh(skew),
            jnp.exp(0.7 * jnp.tanh(tail)),
        )
