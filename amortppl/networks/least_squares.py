"""Least squares with a state that adds up: regularised regression of values on keys, in closed
form.

    weights = (K'K + diag(ridge))^-1 (K'V + diag(ridge) prior)

As attention (a query reads q' weights) it is the mesa layer of von Oswald et al. 2023, "Uncovering
mesa-optimization algorithms in Transformers", arXiv 2309.05858; K'K, K'V and V'V are sums over
rows, so that context of any length is kept in a memory of fixed size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float


class Moments(NamedTuple):
    """Sums over rows: K'K, K'V, V'V's diagonal, and how many rows."""

    keys: Float[Array, "D D"]
    cross: Float[Array, "D V"]
    square: Float[Array, " V"]
    rows: Float[Array, ""]

    @classmethod
    def none(cls, keys: int, values: int) -> "Moments":
        """Before any row."""
        return cls(
            jnp.zeros((keys, keys)), jnp.zeros((keys, values)), jnp.zeros(values), jnp.zeros(())
        )

    def plus(
        self, keys: Float[Array, "N D"], values: Float[Array, "N V"], mask: Bool[Array, " N"]
    ) -> "Moments":
        """With further rows, those that the mask keeps."""
        keys, values = (jnp.where(mask[:, None], a, 0.0) for a in (keys, values))
        added = Moments(
            keys.T @ keys, keys.T @ values, jnp.sum(values**2, 0), jnp.sum(mask).astype(jnp.float32)
        )
        return jax.tree.map(jnp.add, self, added)


class Solved(NamedTuple):
    """A fit: lower Cholesky factor of K'K + ridge, weights, and mean squared residual of each
    value.
    """

    factor: Float[Array, "D D"]
    weights: Float[Array, "D V"]
    spread: Float[Array, " V"]

    def read(self, queries: Float[Array, "Q D"]) -> tuple[Float[Array, "Q V"], Float[Array, " Q"]]:
        """Fitted values, and leverages q' (K'K + ridge)^-1 q."""
        half = solve_triangular(self.factor, queries.T, lower=True)
        return queries @ self.weights, jnp.sum(half**2, 0)


def solve(
    moments: Moments, ridge: Float[Array, " D"], prior: Float[Array, "D V"] | float = 0.0
) -> Solved:
    """Fits values to keys, the weights drawn to `prior` with precision `ridge`."""
    gram = moments.keys + jnp.diag(ridge)
    factor = jnp.linalg.cholesky(gram + 1e-6 * jnp.trace(gram) / len(ridge) * jnp.eye(len(ridge)))
    pulled = moments.cross + ridge[:, None] * prior
    half = solve_triangular(factor, pulled, lower=True)
    weights = solve_triangular(factor, half, lower=True, trans=1)
    pull = jnp.sum(ridge[:, None] * jnp.broadcast_to(prior, pulled.shape) ** 2, 0)
    left = jnp.maximum(moments.square + pull - jnp.sum(half**2, 0), 1e-6 * moments.square)
    return Solved(factor, weights, left / jnp.maximum(moments.rows, 1.0))
