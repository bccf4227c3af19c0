"""Explicit regime: prompt tuning, gradient steps on a soft prompt of a frozen in-context predictor.

Lester, Al-Rfou and Constant 2021, "The power of scale for parameter-efficient prompt tuning", arXiv
2104.08691. The predictor learns from contexts of rows alone: the prompt's score, which teaches the
prompt to begin with and the rate, passes no gradient to it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.method import Target
from amortppl.predictive.head import Head, Predictive
from amortppl.predictive.predictor import Predictor, like
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.predictive.transformer import Buffer, Transformer
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


class Prompted(NamedTuple):
    """The prompt, and the rows from which the predictor itself learns."""

    prompt: Float[Array, "M E"]
    buffer: Buffer


class PromptPredictor(Predictor):
    """The built method. See `PromptTuning` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "PromptTuning" = eqx.field(static=True)
    reader: Reader
    transformer: Transformer
    head: Head
    prompt: Float[Array, "M E"]
    log_rate: Float[Array, "M E"]
    regime: ClassVar[str] = "explicit"

    def init(self) -> Prompted:
        """The learned prompt."""
        return Prompted(
            self.prompt, Buffer.none(min(self.options.capacity, self.task.rows[1]), self.reader)
        )

    def step(self, state: Prompted, batch: Batch) -> Prompted:
        """A few gradient steps of the prompt on the rows of a mini-batch."""

        def misfit(prompt: Array) -> Array:
            rows = self._frozen(prompt, batch.data).log_prob(batch.data)
            return -jnp.sum(jnp.where(batch.mask, rows, 0.0)) / jnp.maximum(jnp.sum(batch.mask), 1)

        def update(prompt: Array, _: None) -> tuple[Array, None]:
            return prompt - jnp.exp(self.log_rate) * jnp.clip(
                jax.grad(misfit)(prompt), -1.0, 1.0
            ), None

        prompt = jax.lax.scan(update, state.prompt, None, self.options.updates)[0]
        return Prompted(prompt, state.buffer.add(self.reader, batch))

    def predictive(self, state: Prompted, query: dict[str, Array]) -> Predictive:
        """The frozen predictor with the prompt as its context."""
        return self._frozen(state.prompt, query)

    def score(self, state: Prompted, target: Target) -> Array:
        """The prompt's loss, and beside it the predictor's own on contexts of rows."""
        context = self.transformer.tokens(state.buffer.rows)
        own = self._on(self.transformer, self.head, context, state.buffer.mask, target.query)
        return super().score(state, target) - jnp.mean(own.log_prob(target.query))

    def _frozen(self, prompt: Array, query: dict[str, Array]) -> Predictive:
        transformer, head = stop_gradient(
            eqx.filter((self.transformer, self.head), eqx.is_inexact_array)
        )
        rest = eqx.filter((self.transformer, self.head), eqx.is_inexact_array, inverse=True)
        transformer, head = eqx.combine((transformer, head), rest)
        return self._on(transformer, head, prompt, jnp.ones(prompt.shape[0], bool), query)

    def _on(
        self,
        transformer: Transformer,
        head: Head,
        context: Array,
        mask: Array,
        query: dict[str, Array],
    ) -> Predictive:
        features = transformer.read(context, mask, self.reader.x(query))
        return Predictive(head, self.reader, features[None], like(self.task.rows_like))


@dataclass(frozen=True)
class PromptTuning:
    """Options.

    Attributes:
        prompt: tokens in the prompt.
        updates: gradient steps a mini-batch.
        rate: of these steps, to begin with; one for each number of the prompt is learned.
        width, layers, hidden, capacity: of the predictor, as in `prior_fitted`.
    """

    prompt: int = 8
    updates: int = 5
    rate: float = 0.3
    width: int = 32
    layers: int = 2
    hidden: int = 32
    capacity: int = 64

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 3000, "batch": 32, "rate": 1e-3}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> PromptPredictor:
        """Draws the weights for a task."""
        keys = jr.split(key, 4)
        read, shape = reader(task, keys[0]), (self.prompt, self.width)
        return PromptPredictor(
            task=task, options=self, reader=read,
            transformer=Transformer(read, self.width, self.layers, keys[1]),
            head=Head(self.width + 1, read, self.hidden, keys[2]),
            prompt=jr.normal(keys[3], shape) / self.width**0.5, log_rate=jnp.full(shape, jnp.log(self.rate)),
        )  # fmt: skip


METHOD = PromptTuning
