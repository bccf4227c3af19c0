"""A transformer over rows and queries: rows look at one another, queries at the rows alone.

The rows are kept in a buffer of fixed size; of a longer context it holds a random sample without
replacement (reservoir sampling: Vitter 1985, "Random sampling with a reservoir", algorithm R).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.networks.mlp import mlp
from amortppl.networks.set_transformer import Attention
from amortppl.predictive.preprocessing import Reader
from amortppl.task.batch import Batch


class Buffer(NamedTuple):
    """Rows as the networks see them, and how many were met."""

    rows: Float[Array, "C F"]
    met: Float[Array, ""]

    @classmethod
    def none(cls, capacity: int, reader: Reader) -> "Buffer":
        """Before any row."""
        return cls(jnp.zeros((capacity, reader.x_size + reader.y_size)), jnp.zeros(()))

    @property
    def mask(self) -> Bool[Array, " C"]:
        """Which places hold a row."""
        return jnp.arange(self.rows.shape[0]) < self.met

    def add(self, reader: Reader, batch: Batch) -> "Buffer":
        """With rows of a mini-batch; once full, row t takes a place with probability C / t."""
        capacity = self.rows.shape[0]
        seen = jnp.concatenate([reader.x(batch.data), reader.y(reader.standard(batch.data))], -1)
        turn = (self.met + jnp.cumsum(batch.mask) - 1).astype(int)
        keys = jax.vmap(lambda t: jr.fold_in(jr.key(0), t))(turn)
        random = jax.vmap(lambda k, t: jr.randint(k, (), 0, jnp.maximum(t, 1) + 1))(keys, turn)
        place = jnp.where(batch.mask, jnp.where(turn < capacity, turn, random), capacity)
        return Buffer(self.rows.at[place].set(seen, mode="drop"), self.met + jnp.sum(batch.mask))


class Transformer(eqx.Module):
    """Tokens of a context and of queries -> features of the queries."""

    row: eqx.nn.MLP
    query: eqx.nn.MLP
    always: Float[Array, "1 E"]
    layers: list[Attention]

    def __init__(self, reader: Reader, width: int, layers: int, key: PRNGKeyArray) -> None:
        keys = jr.split(key, layers + 3)
        self.row = mlp(reader.x_size + reader.y_size, width, width, 1, keys[0])
        self.query = mlp(reader.x_size, width, width, 1, keys[1])
        self.always = jr.normal(keys[2], (1, width)) / width**0.5
        self.layers = [Attention(width, k) for k in keys[3:]]

    def tokens(self, rows: Float[Array, "C F"]) -> Float[Array, "C E"]:
        """Rows embedded."""
        return jax.vmap(self.row)(rows)

    def read(
        self, context: Float[Array, "C E"], mask: Bool[Array, " C"], x: Float[Array, "Q X"]
    ) -> Float[Array, "Q E"]:
        """Queries after they have looked at the context in every layer; one token is always
        there.
        """
        context, mask = jnp.concatenate([self.always, context]), jnp.append(True, mask)
        query = jax.vmap(self.query)(x)
        for layer in self.layers:
            query = layer(query, context, mask)
            context = layer(context, context, mask)
        rows = jnp.log1p(jnp.sum(mask)) / 3.0 - 1.0
        return jnp.concatenate([query, jnp.full((query.shape[0], 1), rows)], -1)
