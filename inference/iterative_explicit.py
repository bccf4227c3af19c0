"""Explicit regime: a learned update of a learned task latent z, and a learned decoder f(x, z).

    z_0 learned,    z_i+1 = h(z_i, B_i),    p(y* | x*, z_K) = f(x*, z_K)

The update is that of the parametric regime (`amortppl.gaussian.learned_update`) on the numbers of z
and their log sds, which here say no more than how far z is settled; its gradient signal is that of
the decoder's log likelihood of the mini-batch. Both are trained together, greedily.

Mittal, Mahajan, Lajoie and Pezeshki 2025, "Iterative Amortized Inference", arXiv 2510.11471, Eq. 7
(explicit).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import quoted
from amortppl.gaussian.belief import Belief
from amortppl.gaussian.learned_steps import LearnedSteps
from amortppl.gaussian.learned_update import LearnedUpdate
from amortppl.gaussian.update_inputs import SIGNALS, Rows, Shape
from amortppl.networks.mlp import mlp
from amortppl.predictive.head import Head, family
from amortppl.predictive.predictor import Headed
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


class Decoder(eqx.Module):
    """Features of a query given z: x's learned directions times z, and a perceptron's.

    The perceptron also sees how far the products are unsettled, log |along(x) sd|.
    """

    along: eqx.nn.Linear
    bend: eqx.nn.MLP

    def __init__(self, x: int, size: int, context: int, hidden: int, key: PRNGKeyArray) -> None:
        keys = jr.split(key)
        self.along = eqx.nn.Linear(x, size, key=keys[0])
        self.bend = mlp(x + 2 * size + context + 1, hidden, hidden, 2, keys[1])

    def __call__(
        self, z: Float[Array, " Z"], context: Float[Array, " K"], x: Float[Array, "Q X"]
    ) -> Float[Array, "Q E"]:
        """Features of Q queries."""
        along = jax.vmap(self.along)(x)
        fitted, sd = along * z, jnp.exp(context[: z.shape[0]])
        unsettled = 0.5 * jnp.log(jnp.mean((along * sd) ** 2, -1, keepdims=True) + 1e-6)
        same = jnp.broadcast_to(
            jnp.concatenate([z, context]), (x.shape[0], z.shape[0] + context.shape[0])
        )
        seen = jnp.concatenate([x, fitted, unsettled, same], -1)
        return jnp.concatenate([jax.vmap(self.bend)(seen), fitted, unsettled, same], -1)


class ExplicitPredictor(LearnedSteps, Headed):
    """The built method. See `IterativeExplicit` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "IterativeExplicit" = eqx.field(static=True)
    reader: Reader
    update: LearnedUpdate
    decoder: Decoder
    head: Head
    regime: ClassVar[str] = "explicit"

    def latent(self, state: Belief) -> Belief:
        """z, as a distribution that can be drawn from."""
        return state

    def features(self, state: Belief, query: dict[str, Array]) -> Float[Array, "1 Q E"]:
        """The decoder's features of the queries."""
        return self.decoder(state.location, self._known(state), self.reader.x(query))[None]

    def _known(self, state: Belief) -> Float[Array, " K"]:
        """Log sds and rows, beyond those trained on as they would be there."""
        rows = jnp.minimum(state.rows, self.task.rows[1])
        log_sd = state.spread + 0.5 * jnp.log((1.0 + state.rows) / (1.0 + rows))
        return jnp.append(log_sd, jnp.log1p(rows) / 3.0 - 1.0)

    def _seen(self) -> Rows:
        return Rows(self._tokens, self._likelihood, slopes=self._slopes)

    def _tokens(self, batch: Batch) -> Float[Array, "B R"]:
        y = self.reader.y(self.reader.standard(batch.data))
        return jnp.concatenate([self.reader.x(batch.data), y], -1)

    def _likelihood(self, batch: Batch, state: Belief) -> Callable[[Array], Float[Array, " B"]]:
        """Log density of each row under the decoder, as a function of z."""
        context, x = self._known(state), self.reader.x(batch.data)
        return lambda z: self.on(self.decoder(z, context, x)[None]).log_prob(batch.data)

    def _slopes(self, batch: Batch, state: Belief) -> Float[Array, "B Z"]:
        """Gradients of the rows' log densities: one backward pass with a z for each row."""
        context, x = self._known(state), self.reader.x(batch.data)

        def total(each: Float[Array, "B Z"]) -> Array:
            features = jax.vmap(lambda z, at: self.decoder(z, context, at[None])[0])(each, x)
            return jnp.sum(self.on(features[None]).log_prob(batch.data))

        return jax.grad(total)(
            jnp.broadcast_to(state.location, (x.shape[0], *state.location.shape))
        )


def begin_linear(head: Head, reader: Reader, first: int, size: int, key: PRNGKeyArray) -> Head:
    """A head that begins as a regression on x's learned directions, with z its weights.

        place of y = sum_j c_j z_j along_j(x),    c_j ~ N(0, 3 / Z)

    A head that begins at zero says nothing of z, and z, never moved, teaches the head nothing.

    Args:
        head: any, its linear maps zero.
        reader: of the task.
        first, size: where the products z_j along_j(x) stand among the features.
        key: draws the weights.
    """
    for i, component in enumerate(reader.parts):
        number = jnp.arange(family(component).coefficients)
        if component.kind == "finite":  # a logit for each class
            drawn, placed = jr.normal(jr.fold_in(key, i), (len(number), size)), number >= 0
        else:
            drawn = jr.normal(jr.fold_in(key, i), (1, size))
            third = len(number) // 3
            placed = number // third == 1 if component.kind == "count" else number == 0
        loads = jnp.where(placed[:, None], drawn * (3.0 / size) ** 0.5, 0.0)
        put = head.factors[i].straight.weight.at[:, first : first + size].set(loads)
        head = eqx.tree_at(lambda h, i=i: h.factors[i].straight.weight, head, put)
    return head


@dataclass(frozen=True)
class IterativeExplicit:
    """Options of the learned update of a task latent.

    Attributes:
        latent: numbers in z.
        signals: what a step sees of a mini-batch: `data`, `gradient` and `curvature` of the
            decoder's log likelihood at z.
        history: how many of the last steps the update sees.
        most: rows that a step looks at together, and the most that it is trained on; a longer
            mini-batch is taken as several.
        width, layers, heads: of the transformer.
        hidden, head: widths of the decoder, and of the perceptron in its head (0: linear).
    """

    latent: int = 16
    signals: tuple[str, ...] = ("data", "gradient")
    history: int = 0
    most: int = 16
    width: int = 32
    layers: int = 3
    heads: int = 4
    hidden: int = 64
    head: int = 0

    def __post_init__(self) -> None:
        unknown = [s for s in self.signals if s not in SIGNALS]
        if unknown or not self.signals:
            raise LookupError(f"signals: {quoted(unknown)} not among {quoted(SIGNALS)}")
        object.__setattr__(self, "signals", tuple(s for s in SIGNALS if s in self.signals))

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 6000, "batch": 64, "rate": 2e-3, "average": 0.995, "mini_batch": self.most}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> ExplicitPredictor:
        """Draws the weights for a task; units come from simulated rows."""
        keys = jr.split(key, 4)
        read = reader(task, keys[0])
        shape = Shape(
            ((self.latent,),), read.x_size + read.y_size, "diagonal", self.signals, False,
            self.history, self.most, task.rows[1],
        )  # fmt: skip
        update = LearnedUpdate(shape, keys[1], self.width, self.layers, self.heads)
        settling = jnp.array(
            [0.0, 0.5]
        )  # steps that grow shorter as 1 / sqrt(rows), until it learns better
        update = eqx.tree_at(lambda u: u.net.bias, update, settling)
        context = self.latent + 1
        head = Head(self.hidden + 2 * self.latent + context + 1, read, self.head, keys[3])
        return ExplicitPredictor(
            task=task, options=self, reader=read, update=update,
            decoder=Decoder(read.x_size, self.latent, context, self.hidden, keys[2]),
            head=begin_linear(head, read, self.hidden, self.latent, jr.fold_in(keys[3], 1)),
        )  # fmt: skip


METHOD = IterativeExplicit
