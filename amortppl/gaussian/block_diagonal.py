"""Spectra and factors of block-diagonal matrices, a block for each group: linear in the groups."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from amortppl.gaussian.frame import cholesky_of, clipped_eigh


class BlockSpectrum(NamedTuple):
    """Eigenvalues and eigenvectors of N symmetric positive definite blocks.

    >>> import jax.numpy as jnp
    >>> blocks = BlockSpectrum.clip(jnp.array([[[4.0]], [[0.1]]]), 0.5)
    >>> blocks.solve(jnp.array([[2.0], [1.0]])).tolist()
    [[0.5], [2.0]]
    """

    values: Float[Array, "N S"]
    vectors: Float[Array, "N S S"]

    @classmethod
    def clip(cls, blocks: Float[Array, "N S S"], low: float) -> "BlockSpectrum":
        """The spectra of symmetric blocks, absolute eigenvalues at least `low`."""
        if blocks.shape[-1] == 1:
            return cls(jnp.maximum(jnp.abs(blocks[..., 0]), low), jnp.ones_like(blocks))
        return cls(*jax.vmap(lambda block: clipped_eigh(block, low, jnp.inf))(blocks))

    def solve(self, right: Float[Array, "*K N S"]) -> Float[Array, "*K N S"]:
        """The inverse times vectors."""
        if self.vectors.shape[-1] == 1:
            return right / self.values
        turned = jnp.einsum("nij,...ni->...nj", self.vectors, right)
        return jnp.einsum("nij,...nj->...ni", self.vectors, turned / self.values)

    def cholesky(self) -> Float[Array, "N S S"]:
        """Lower Cholesky factors."""
        if self.vectors.shape[-1] == 1:
            return jnp.sqrt(self.values)[..., None]
        return jax.vmap(cholesky_of)(self.values, self.vectors)


def invert_factors(factors: Float[Array, "N S S"]) -> Float[Array, "N S S"]:
    """Inverses of lower triangular blocks.

    >>> invert_factors(jnp.array([[[2.0]], [[4.0]]])).tolist()
    [[[0.5]], [[0.25]]]
    """
    if factors.shape[-1] == 1:
        return 1.0 / factors
    return solve_triangular(
        factors, jnp.broadcast_to(jnp.eye(factors.shape[-1]), factors.shape), lower=True
    )
