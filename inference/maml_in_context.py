"""Gradient steps on the weights of an in-context predictor: it adapts to families of tasks it was
not trained on.

    weights <- weights - rate grad_w mean_{i in B} -log p(y_i | x_i, the other half of B, weights)
    readout   p(y* | x*, D, weights)

The predictor reads D in context before and after; what the steps change is how it reads. Its
weights begin as those of a trained `prior_fitted` guide (`start`), and training moves them to where
such steps help most. Each row of a mini-batch is predicted from the half that it is not in; which
half a row is in is decided by its own numbers, so that the order of rows does not matter.

Sinha et al. 2024, "MAML-en-LLM: model agnostic meta-training of LLMs for improved in-context
learning", arXiv 2405.11446; Finn, Abbeel and Levine 2017, "Model-agnostic meta-learning", arXiv
1703.03400.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.predictive.head import Head, Predictive
from amortppl.predictive.predictor import Predictor, like
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.predictive.pretrained import options_of, with_weights_of
from amortppl.predictive.transformer import Buffer, Transformer
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

LONGEST = 5.0
"""Longest gradient, over all weights, of a step."""


class Adapted(NamedTuple):
    """The predictor's weights, adapted, and the rows that it reads in context."""

    weights: Any
    buffer: Buffer


class AdaptivePredictor(Predictor):
    """The built method. See `MAMLInContext` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "MAMLInContext" = eqx.field(static=True)
    reader: Reader
    transformer: Transformer
    head: Head
    log_rate: Float[Array, ""]
    regime: ClassVar[str] = "implicit"

    def init(self) -> Adapted:
        """The weights that steps start from, and an empty context."""
        capacity = min(self.options.capacity, self.task.rows[1])
        return Adapted(
            eqx.filter(self._net, eqx.is_inexact_array), Buffer.none(capacity, self.reader)
        )

    def step(self, state: Adapted, batch: Batch) -> Adapted:
        """A few gradient steps on the rows of a mini-batch, which are then put into the context."""
        half = halves(batch)

        def update(weights: Any, _: None) -> tuple[Any, None]:
            slope = jax.grad(
                lambda w: self._misfit(w, batch, half) + self._misfit(w, batch, ~half)
            )(weights)
            slope = slope if self.options.second_order else stop_gradient(slope)
            length = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(slope)) + 1e-12)
            pace = jnp.exp(self.log_rate) / jnp.maximum(1.0, length / LONGEST)
            return jax.tree.map(lambda w, g: w - pace * g, weights, slope), None

        weights = jax.lax.scan(update, state.weights, None, self.options.updates)[0]
        return Adapted(weights, state.buffer.add(self.reader, batch))

    def predictive(self, state: Adapted, query: dict[str, Array]) -> Predictive:
        """The predictor with the state's weights reads the state's context."""
        return self._read(state.weights, state.buffer, query)

    def _misfit(self, weights: Any, batch: Batch, given: Bool[Array, " B"]) -> Float[Array, ""]:
        """-log p of the rows that are not given, read from those that are; the mean over all
        rows.
        """
        context = self.init().buffer.add(self.reader, Batch(batch.data, batch.mask & given))
        rows = self._read(weights, context, batch.data).log_prob(batch.data)
        asked = batch.mask & ~given
        return -jnp.sum(jnp.where(asked, rows, 0.0)) / jnp.maximum(jnp.sum(batch.mask), 1)

    def _read(self, weights: Any, context: Buffer, query: dict[str, Array]) -> Predictive:
        net = eqx.combine(weights, eqx.filter(self._net, eqx.is_inexact_array, inverse=True))
        transformer, head = net
        features = transformer.read(
            transformer.tokens(context.rows), context.mask, self.reader.x(query)
        )
        return Predictive(head, self.reader, features[None], like(self.task.rows_like))

    @property
    def _net(self) -> tuple[Transformer, Head]:
        return self.transformer, self.head


def halves(batch: Batch) -> Bool[Array, " B"]:
    """Which rows are in the first half, as good as at random: by the bits of their numbers."""
    key = jr.key(0)
    rows = batch.mask.shape[0]
    flat = [v.reshape(rows, -1).astype(jnp.float32) for v in batch.data.values()]
    bits = jnp.sum(jax.lax.bitcast_convert_type(jnp.concatenate(flat, -1), jnp.uint32), -1)
    return jax.vmap(lambda b: jr.bernoulli(jr.fold_in(key, b)))(bits)


@dataclass(frozen=True)
class MAMLInContext:
    """Options.

    Attributes:
        start: the folder of a `prior_fitted` guide whose weights it begins with, for a task with
            arguments of the same shapes; None to begin with random ones.
        updates, rate: gradient steps a mini-batch, and their rate to begin with.
        second_order: whether training differentiates through the gradients of these steps.
        width, layers, hidden, capacity: of the predictor, as in `prior_fitted`; those of `start`
            where it is given.
    """

    start: str | None = None
    updates: int = 3
    rate: float = 0.02
    second_order: bool = False
    width: int = 32
    layers: int = 2
    hidden: int = 32
    capacity: int = 128

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 2000, "batch": 16, "rate": 1e-3}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> AdaptivePredictor:
        """Draws the weights for a task, or reads those of a trained guide.

        Raises:
            GuideError: `start` is no `prior_fitted` guide, or one of other arguments.
        """
        own = (
            self if self.start is None else replace(self, **options_of(self.start, "prior_fitted"))
        )
        keys = jr.split(key, 3)
        read = reader(task, keys[0])
        method = AdaptivePredictor(
            task=task,
            options=own,
            reader=read,
            transformer=Transformer(read, own.width, own.layers, keys[1]),
            head=Head(own.width + 1, read, own.hidden, keys[2]),
            log_rate=jnp.log(jnp.asarray(self.rate)),
        )
        return method if self.start is None else with_weights_of(self.start, method)


METHOD = MAMLInContext
