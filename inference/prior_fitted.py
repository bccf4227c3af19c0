"""Implicit regime: a prior-fitted network, a softmax transformer over the rows that it can hold.

Muller, Hollmann, Pineda Arango, Grabocka and Hutter 2022, "Transformers can do Bayesian inference",
arXiv 2112.10510. A context beyond `capacity` rows is sub-sampled.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.predictive.head import Head
from amortppl.predictive.predictor import Headed
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.predictive.transformer import Buffer, Transformer
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


class PriorFittedPredictor(Headed):
    """The built method. See `PriorFitted` for its options."""

    task: AbstractTask = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    reader: Reader
    transformer: Transformer
    head: Head
    regime: ClassVar[str] = "implicit"

    def init(self) -> Buffer:
        """An empty context."""
        return Buffer.none(self.capacity, self.reader)

    def step(self, state: Buffer, batch: Batch) -> Buffer:
        """Rows put into the context."""
        return state.add(self.reader, batch)

    def features(self, state: Buffer, query: dict[str, Array]) -> Float[Array, "1 Q E"]:
        """Queries after they have looked at the context."""
        tokens = self.transformer.tokens(state.rows)
        return self.transformer.read(tokens, state.mask, self.reader.x(query))[None]


@dataclass(frozen=True)
class PriorFitted:
    """Options: numbers in a token, layers, width of the head's perceptron, and rows that the
    context holds.
    """

    width: int = 64
    layers: int = 3
    hidden: int = 64
    capacity: int = 512

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 4000, "batch": 32, "rate": 1e-3}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> PriorFittedPredictor:
        """Draws the weights for a task."""
        keys = jr.split(key, 3)
        read = reader(task, keys[0])
        return PriorFittedPredictor(
            task=task, capacity=min(self.capacity, task.rows[1]), reader=read,
            transformer=Transformer(read, self.width, self.layers, keys[1]),
            head=Head(self.width + 1, read, self.hidden, keys[2]),
        )  # fmt: skip


METHOD = PriorFitted
