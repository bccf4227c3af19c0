"""A conditional density: a map from coefficients to an ordinary distribution on R^P."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Density(eqx.Module):
    """A family of distributions on R^P, indexed by a vector of coefficients.

    The coefficients are emitted once per dataset by a network that starts at `initial`; at zero
    the distribution is standard normal, so that a guide fades to its frame as they do.

    Attributes:
        size: P.
        coefficients: how many numbers index the family.
    """

    size: eqx.AbstractVar[int]
    coefficients: eqx.AbstractVar[int]

    @abstractmethod
    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """Log density of one point."""

    @abstractmethod
    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws and their log densities."""

    def initial(self) -> Float[Array, " K"]:
        """Coefficients to start training from: zeros, unless parts must differ to be told apart."""
        return jnp.zeros(self.coefficients)
