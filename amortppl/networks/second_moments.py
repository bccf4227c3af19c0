"""Deep set beside the rows' second moments: an encoder for models whose latents are of variances
and dependence.

A network finds products of columns hard to learn; the covariance of the columns, as log standard
deviations and correlations, says at once what a covariance matrix, a variance component or a causal
order rests on.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.networks.deep_set import DeepSet

MOST = 16
"""Columns whose products are taken: those of the rows, or as many learned combinations of more."""


class SecondMoments(eqx.Module):
    """Sums over rows of a deep set's embedding and of the products of all pairs of columns."""

    embed: DeepSet
    combine: Float[Array, "C F"] | None
    size: int = eqx.field(static=True)

    def __init__(self, features: int, size: int, key: PRNGKeyArray) -> None:
        first, second = jr.split(key)
        columns = min(features, MOST)
        self.embed = DeepSet(features, size, first)
        self.combine = (
            jr.normal(second, (columns, features)) / features**0.5 if features > columns else None
        )
        self.size = size + columns * (columns + 1) // 2

    def __call__(self, rows: Float[Array, "N F"], mask: Bool[Array, " N"]) -> Float[Array, " E"]:
        """Row features (N, F) -> sums (E,) over the rows that the mask keeps."""
        columns = jnp.where(
            mask[:, None], rows if self.combine is None else rows @ self.combine.T, 0.0
        )
        products = (columns.T @ columns)[np.tril_indices(columns.shape[1])]
        return jnp.concatenate([self.embed(rows, mask), products])

    def read(self, mean: Float[Array, " E"]) -> Float[Array, " E"]:
        """The mean over rows with, for the mean products m_ij, log sqrt(m_ii) and m_ij / sqrt(m_ii
        m_jj).
        """
        start = self.embed.size
        rest = mean[start:]
        i, j = np.tril_indices(int((2 * rest.shape[0] + 0.25) ** 0.5))
        square = rest[i == j] + 1e-4
        products = jnp.where(
            i == j, 0.5 * jnp.log(square)[i], rest / jnp.sqrt(square[i] * square[j])
        )
        return jnp.concatenate([mean[:start], products])
