"""Set transformer: an encoder of exchangeable rows in which rows see one another.

Lee et al. 2019, "Set Transformer", arXiv 1810.00825: one induced self-attention block (so that
the cost is linear in the rows), then pooling by attention.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.networks.mlp import mlp

HEADS, INDUCING = 4, 16


class Attention(eqx.Module):
    """Multi-head attention with a residual perceptron: queries (Q, E) look at keys (N, E)."""

    heads: eqx.nn.MultiheadAttention
    after: eqx.nn.MLP
    norm: eqx.nn.LayerNorm

    def __init__(self, size: int, key: PRNGKeyArray) -> None:
        first, second = jr.split(key)
        self.heads = eqx.nn.MultiheadAttention(HEADS, size, key=first)
        self.after = mlp(size, size, size, 1, second, start=jnp.zeros(size))
        self.norm = eqx.nn.LayerNorm(size)

    def __call__(
        self,
        queries: Float[Array, "Q E"],
        keys: Float[Array, "N E"],
        mask: Bool[Array, " N"] | None,
    ) -> Float[Array, "Q E"]:
        """Queries after one look at the keys that the mask keeps."""
        seen = None if mask is None else jnp.broadcast_to(mask, (queries.shape[0], mask.shape[0]))
        hidden = queries + self.heads(queries, keys, keys, mask=seen)
        return hidden + jax.vmap(lambda h: self.after(self.norm(h)))(hidden)


class SetTransformer(eqx.Module):
    """Rows -> context. Multiplied by the number of rows, so that mini-batches' contexts add up."""

    row: eqx.nn.MLP
    inducing: Float[Array, "I E"]
    seed: Float[Array, "1 E"]
    gather: Attention
    spread: Attention
    pool: Attention
    size: int = eqx.field(static=True)

    def __init__(self, features: int, size: int, key: PRNGKeyArray) -> None:
        self.size = size
        keys = jr.split(key, 6)
        self.row = mlp(features, size, size, 1, keys[0], activation=jax.nn.relu)
        self.inducing = jr.normal(keys[1], (INDUCING, size)) / size**0.5
        self.seed = jr.normal(keys[2], (1, size)) / size**0.5
        self.gather, self.spread, self.pool = (Attention(size, k) for k in keys[3:])

    def __call__(self, rows: Float[Array, "N F"], mask: Bool[Array, " N"]) -> Float[Array, " E"]:
        """Row features (N, F) -> context (E,) times the number of rows that the mask keeps."""
        hidden = jax.vmap(self.row)(rows)
        hidden = self.spread(hidden, self.gather(self.inducing, hidden, mask), None)
        return self.pool(self.seed, hidden, mask)[0] * jnp.sum(mask)

    def read(self, mean: Float[Array, " E"]) -> Float[Array, " E"]:
        """The mean over rows, as it is."""
        return mean
