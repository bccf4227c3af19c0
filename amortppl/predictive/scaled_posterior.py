"""A posterior in prior units, as a distribution over the unconstrained vector."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.task.scaling import PriorScale


class ScaledPosterior(eqx.Module):
    """theta = centre + scale z, where z has a given distribution.

    Attributes:
        scale: of the prior.
        standard: the distribution of z: `sample(key, draws)` and `log_prob(z)`.
    """

    scale: PriorScale
    standard: Any

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws (S, P) and their log densities (S,)."""
        vectors, log_prob = self.standard.sample(key, draws)
        return self.scale.restore(vectors), log_prob - jnp.sum(jnp.log(self.scale.scale))

    def log_prob(self, vector: Float[Array, " P"]) -> Array:
        """Log density of one unconstrained vector."""
        standard = self.scale.standardize(vector)
        return self.standard.log_prob(standard) - jnp.sum(jnp.log(self.scale.scale))
