"""A finite support: a probability for each of its values."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


@dataclass(frozen=True)
class Categories:
    """Coefficients are logits; values are counted from zero."""

    coefficients: int

    def initial(self) -> Float[Array, " K"]:
        """Equal probabilities."""
        return jnp.zeros(self.coefficients)

    def log_prob(self, value: Array, coefficients: Float[Array, " K"]) -> Array:
        """Log probability of a value."""
        return jax.nn.log_softmax(coefficients)[value.astype(int)]

    def sample(self, key: PRNGKeyArray, coefficients: Float[Array, " K"]) -> Array:
        """One draw."""
        until = jnp.cumsum(jax.nn.softmax(coefficients))
        return jnp.sum(until[:-1] < jr.uniform(key) * until[-1]).astype(jnp.float32)
