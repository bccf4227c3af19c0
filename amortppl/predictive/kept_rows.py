"""Methods that keep the rows of a dataset as they came, and read a density of all of them."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool

from amortppl.method import Method
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


class Kept(NamedTuple):
    """The rows that were seen.

    Attributes:
        data: by argument, (R, ...).
        mask: which places hold one, (R,).
        count: how many rows there were; more than R is more than there is place for.
    """

    data: dict[str, Array]
    mask: Bool[Array, " R"]
    count: Array

    @property
    def whole(self) -> Bool[Array, ""]:
        """Whether there was place for every row."""
        return self.count <= len(self.mask)


class KeptRows(Method):
    """A method whose state are the rows: as many as it was trained on, or as came first."""

    task: eqx.AbstractVar[AbstractTask]

    def init(self) -> Kept:
        """No rows, with places for as many as were trained on."""
        places = (self.task.rows or (1, 1))[1]
        like = self.task.rows_like
        empty = {n: jnp.zeros((places, *s.shape[1:]), s.dtype) for n, s in like.items()}
        return Kept(empty, jnp.zeros(places, bool), jnp.zeros((), int))

    def step(self, state: Kept, batch: Batch) -> Kept:
        """With a mini-batch's rows in the next places."""
        places = max(len(state.mask), len(batch.mask))
        more = places - len(state.mask)
        data = {n: jnp.concatenate([v, batch.data[n][:more]]) for n, v in state.data.items()}
        mask = jnp.pad(state.mask, (0, more))
        # Places that hold no row hold a valid one, so that every density is finite.
        data = {n: jnp.where(_like(mask, v), v, batch.data[n][:1]) for n, v in data.items()}
        at = jnp.where(batch.mask, state.count + jnp.cumsum(batch.mask) - 1, places)
        put = lambda old, new: old.at[at].set(new.astype(old.dtype), mode="drop")  # noqa: E731
        data = {n: put(v, batch.data[n]) for n, v in data.items()}
        mask = mask.at[at].set(True, mode="drop")
        return Kept(data, mask, state.count + jnp.sum(batch.mask))


def _like(mask: Array, values: Array) -> Array:
    """A mask of rows with as many axes as their values."""
    return mask.reshape(-1, *[1] * (values.ndim - 1))
