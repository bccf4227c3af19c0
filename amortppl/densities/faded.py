"""A density on its way back to the standard normal."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.density import Density
from amortppl.densities.gaussian import log_normal


class Faded(Density):
    """p(z) = (1 - s) N(z; 0, I) + s q(z | c),    coefficients (c, s), 0 < s <= 1.

    What q changes of a mean is s times as large in p. Coefficients that are themselves made
    smaller do not fade so: the maps of a flow cancel one another's shifts, and half of each no
    longer does.

    >>> from amortppl.densities import density
    >>> family = Faded(density("gaussian", 1, jr.key(0)))
    >>> coefficients = jnp.array([2.0, 0.0, 0.25])
    >>> draws, log_prob = family.sample(jr.key(1), coefficients, 4000)
    >>> round(float(draws.mean()), 1), round(float(log_prob[0] - family.log_prob(
    ...     draws[0], coefficients)), 3)
    (0.5, 0.0)

    Attributes:
        family: q.
    """

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)
    family: Density

    def __init__(self, family: Density) -> None:
        self.size, self.coefficients, self.family = family.size, family.coefficients + 1, family

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """Log density of one point."""
        own, share = coefficients[:-1], coefficients[-1]
        return _mixed(log_normal(z), self.family.log_prob(z, own), share)

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Independent draws and their log densities; at s = 1 those of q with the same key."""
        own, share = coefficients[:-1], coefficients[-1]
        z, log_own = self.family.sample(key, own, draws)
        normal = jr.normal(jr.fold_in(key, 1), z.shape)
        kept = jr.uniform(jr.fold_in(key, 2), (draws,)) < share
        log_own = jnp.where(
            kept, log_own, jax.vmap(lambda at: self.family.log_prob(at, own))(normal)
        )
        z = jnp.where(kept[:, None], z, normal)
        return z, _mixed(log_normal(z), log_own, share)


def _mixed(log_standard: Array, log_own: Array, share: Array) -> Array:
    return jnp.logaddexp(jnp.log1p(-share) + log_standard, jnp.log(share) + log_own)
