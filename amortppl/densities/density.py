"""A conditional density: a map from coefficients to an ordinary distribution on R^P."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Density(eqx.Module):
    """A family of distributions on R^P, indexed by a vector of coefficients.

    A network emits the coefficients once per dataset and starts at `initial`. At zero the
    distribution is standard normal, so that a guide whose coefficients fade returns to its frame.

    >>> import jax, jax.numpy as jnp
    >>> from amortppl.densities import density
    >>> family = density("triangular", 2, jax.random.key(0))
    >>> draws, log_prob = family.sample(jax.random.key(1), jnp.zeros(family.coefficients), 3)
    >>> draws.shape, log_prob.shape
    ((3, 2), (3,))

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
        """Independent draws and their log densities."""

    def initial(self) -> Float[Array, " K"]:
        """Coefficients to start training from: zeros, unless parts must differ to be told apart."""
        return jnp.zeros(self.coefficients)
