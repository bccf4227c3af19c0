"""Counts: a mixture of negative binomials, in units of a typical count."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, Float, PRNGKeyArray

PARTS = 3


@dataclass(frozen=True)
class Counts:
    """sum_m w_m NegativeBinomial(typical exp(a_m), exp(c_m)). Coefficients: log weights, a, c."""

    coefficients: int = 3 * PARTS

    def initial(self) -> Float[Array, " K"]:
        """Means from a third to three times the typical count, as dispersed as a geometric
        distribution.
        """
        return jnp.concatenate([jnp.zeros(PARTS), jnp.linspace(-1.0, 1.0, PARTS), jnp.zeros(PARTS)])

    def log_prob(self, value: Array, coefficients: Float[Array, " K"], typical: Array) -> Array:
        """Log probability of a count."""
        weights, level, tightness = coefficients.reshape(3, PARTS)
        parts = _binomial(level, tightness, typical).log_prob(value)
        return jax.scipy.special.logsumexp(jax.nn.log_softmax(weights) + parts)

    def sample(self, key: PRNGKeyArray, coefficients: Float[Array, " K"], typical: Array) -> Array:
        """One draw."""
        pick, draw = jr.split(key)
        weights, *own = coefficients.reshape(3, PARTS)
        part = jr.categorical(pick, weights)
        return _binomial(*(a[part] for a in own), typical).sample(draw).astype(jnp.float32)


def _binomial(level: Array, tightness: Array, typical: Array) -> dist.Distribution:
    mean = typical * jnp.exp(jnp.clip(level, -12.0, 12.0))
    return dist.NegativeBinomial2(mean, jnp.exp(jnp.clip(tightness, -5.0, 8.0)))
