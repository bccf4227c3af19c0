"""Deep set: an encoder of exchangeable rows that pools by mean.

Zaheer et al. 2017, "Deep Sets", arXiv 1703.06114.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.networks.mlp import mlp


class DeepSet(eqx.Module):
    """Sum over rows of an embedding of each row.

    Sums over mini-batches add up to the sum over the dataset; who reads them divides by the number
    of rows.

    >>> import jax, jax.numpy as jnp
    >>> encode, rows = DeepSet(3, 8, jax.random.key(0)), jnp.ones((2, 3))
    >>> one, both = (encode(rows, jnp.array(kept)) for kept in ([True, False], [True, True]))
    >>> bool(jnp.allclose(both, 2 * one))
    True
    """

    row: eqx.nn.MLP
    size: int = eqx.field(static=True)

    def __init__(self, features: int, size: int, key: PRNGKeyArray) -> None:
        self.size = size
        self.row = mlp(features, size, size, 1, key, activation=jax.nn.relu)

    def __call__(self, rows: Float[Array, "N F"], mask: Bool[Array, " N"]) -> Float[Array, " E"]:
        """Row features (N, F) -> their embeddings' sum (E,) over the rows that the mask keeps."""
        return jnp.sum(jnp.where(mask[:, None], jax.vmap(self.row)(rows), 0.0), 0)

    def read(self, mean: Float[Array, " E"]) -> Float[Array, " E"]:
        """The mean over rows, unchanged."""
        return mean
