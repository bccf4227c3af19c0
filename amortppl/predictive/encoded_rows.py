"""Methods that see a dataset as the sum of its encoded rows, which adds up over mini-batches."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl import catalogue
from amortppl.method import Method
from amortppl.networks import Encoder, encoder
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import RowScaler


class Seen(NamedTuple):
    """What was seen of a dataset: the sum of its encoded rows, and how many there are."""

    context: Float[Array, " E"]
    rows: Array


class EncodedRows(Method):
    """A method whose readout follows from the mean encoded row and the number of rows."""

    task: eqx.AbstractVar[AbstractTask]
    rows: eqx.AbstractVar[RowScaler]
    encode: eqx.AbstractVar[Encoder]

    def init(self) -> Seen:
        """No rows."""
        return Seen(jnp.zeros(self.encode.size), jnp.zeros(()))

    def step(self, state: Seen, batch: Batch) -> Seen:
        """With a mini-batch's encoded rows."""
        return Seen(
            state.context + self.encode(self.rows(batch.data), batch.mask),
            state.rows + jnp.sum(batch.mask),
        )

    def combine(self, states: Sequence[Seen]) -> Seen:
        """Sums over disjoint rows add up."""
        return jax.tree.map(lambda *a: sum(a), *states)

    def summary(self, state: Seen) -> Float[Array, " F"]:
        """The mean encoded row, and the logarithm of the number of rows, 0 at the most."""
        most = float((self.task.rows or (1, 1))[1])
        encoded = self.encode.read(state.context / jnp.maximum(state.rows, 1.0))
        return jnp.append(encoded, jnp.log1p(state.rows) - jnp.log1p(most))


def encoder_of(
    task: AbstractTask, name: Any, rows: RowScaler, width: int, key: PRNGKeyArray
) -> Encoder:
    """An encoder of a task's rows: by name, by path as `FILE.py` (its `encoder`) or `FILE.py:NAME`,
    or of one's own.

    Raises:
        LookupError: no encoder of that name, no such file, or the file has no such name.
        ModelError: the rows are not what it reads, or an own encoder is not as it should be.
    """
    path, wanted = catalogue.split_name(name) if isinstance(name, str) else ("", "")
    if path.endswith(".py"):
        found, wanted = vars(catalogue.from_file(path)), wanted or "encoder"
        if wanted not in found:
            raise LookupError(f"encoder: {path} has no {wanted!r}; say {path}:NAME")
        name = found[wanted]
    shapes = {n: task.rows_like[n].shape[1:] for n in task.arguments}
    return encoder(name, rows.size, width, key, shapes, task.ordered)
