"""A density moved, turned and scaled by coefficients of its own."""

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.density import Density
from amortppl.densities.gaussian import affine


class Affine(Density):
    """p(z) = q(T (z - shift) | c) det T,    coefficients (shift, T, c), T lower triangular.

    Where a posterior lies, and how wide it is, are numbers of the network's output then, which a
    flow finds only through its splines.

    >>> import jax
    >>> from amortppl.densities import density
    >>> family = Affine(density("gaussian", 1, jax.random.key(0)))
    >>> round(float(family.log_prob(jnp.array([2.0]), jnp.array([2.0, 0.0, 0.0, 0.0]))), 3)
    -0.919

    Attributes:
        family: q.
    """

    size: int = eqx.field(static=True)
    coefficients: int = eqx.field(static=True)
    own: int = eqx.field(static=True)
    family: Density

    def __init__(self, family: Density) -> None:
        self.size, self.family = family.size, family
        self.own = family.size + family.size * (family.size + 1) // 2
        self.coefficients = self.own + family.coefficients

    def initial(self) -> Float[Array, " K"]:
        """Those of q, neither moved nor scaled."""
        return jnp.concatenate([jnp.zeros(self.own), self.family.initial()])

    def log_prob(self, z: Float[Array, " P"], coefficients: Float[Array, " K"]) -> Array:
        """Log density of one point."""
        shift, factor = affine(coefficients, self.size)
        inner = self.family.log_prob(factor @ (z - shift), coefficients[self.own :])
        return inner + jnp.sum(jnp.log(jnp.diag(factor)))

    def sample(
        self, key: PRNGKeyArray, coefficients: Float[Array, " K"], draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Independent draws and their log densities."""
        shift, factor = affine(coefficients, self.size)
        u, inner = self.family.sample(key, coefficients[self.own :], draws)
        z = shift + u @ solve_triangular(factor, jnp.eye(self.size), lower=True).T
        return z, inner + jnp.sum(jnp.log(jnp.diag(factor)))
