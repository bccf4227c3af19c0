"""An encoder with the rows' own columns beside what it makes of them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class WithColumns(eqx.Module):
    """Sums over rows of an encoder's numbers and of the columns themselves.

    >>> import jax
    >>> from amortppl.networks import DeepSet
    >>> encode = WithColumns(DeepSet(3, 8, jax.random.key(0)), 3)
    >>> encode(jnp.ones((2, 3)), jnp.ones(2, bool))[8:].tolist()
    [2.0, 2.0, 2.0]

    Attributes:
        encode: the encoder.
        columns: F, the numbers in a row.
    """

    encode: Any
    columns: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        """E + F."""
        return self.encode.size + self.columns

    def __call__(self, rows: Float[Array, "N F"], mask: Bool[Array, " N"]) -> Float[Array, " E"]:
        """Row features (N, F) -> sums (E + F,) over the rows that the mask keeps."""
        columns = jnp.sum(jnp.where(mask[:, None], rows, 0.0), 0)
        return jnp.concatenate([self.encode(rows, mask), columns])

    def read(self, mean: Float[Array, " E"]) -> Float[Array, " E"]:
        """The mean over rows: what the encoder reads of its own, and the columns unchanged."""
        split = self.encode.size
        return jnp.concatenate([self.encode.read(mean[:split]), mean[split:]])
