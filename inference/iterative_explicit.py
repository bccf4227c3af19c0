"""Explicit regime: a learned update of a learned task latent z, and a learned decoder f(x, z).

    z_0 learned,    z_i+1 = h(z_i, B_i),    p(y* | x*, z_K) = f(x*, z_K)

The update is that of the parametric regime (`amortppl.gaussian.learned_update`) on the numbers of z
and their log sds; its gradient signal is that of the decoder's log likelihood of the mini-batch.
The decoder begins as a Bayesian regression with posterior N(z, sd^2)
(`amortppl.predictive.latent_decoder`), which ties the sds, the units of a step, to how far z is
settled. Both are trained together, greedily.

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
from amortppl.predictive.head import Head
from amortppl.predictive.latent_decoder import LatentDecoder, begin_regression
from amortppl.predictive.predictor import Headed
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

STEP = 0.6
"""Size of the first moves, relative to natural gradients of independent latents."""


class ExplicitPredictor(LearnedSteps, Headed):
    """The built method. See `IterativeExplicit` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "IterativeExplicit" = eqx.field(static=True)
    reader: Reader
    update: LearnedUpdate
    decoder: LatentDecoder
    head: Head
    regime: ClassVar[str] = "explicit"
    revision: ClassVar[int] = 1

    def latent(self, state: Belief) -> Belief:
        """z, as a distribution that can be drawn from."""
        return state

    def features(self, state: Belief, query: dict[str, Array]) -> Float[Array, "1 Q E"]:
        """The decoder's features of the queries."""
        sd, x = jnp.exp(state.spread), self.reader.x(query)
        return self.decoder(state.location, sd, self._known(state), x)[None]

    def _known(self, state: Belief) -> Float[Array, " K"]:
        """Log sds and rows, beyond those trained on as they would be there."""
        rows = jnp.minimum(state.rows, self.task.rows[1])
        log_sd = state.spread + 0.5 * jnp.log((1.0 + state.rows) / (1.0 + rows))
        return jnp.append(log_sd, jnp.log1p(rows) / 3.0 - 1.0)

    def _seen(self) -> Rows:
        return Rows(self._tokens, self._likelihood, slopes=self._slopes, settle=self._settle)

    def _settle(self, batch: Batch) -> Float[Array, " Z"]:
        """What the rows add to the precision of each number of z."""
        return self.decoder.curvature(self.reader.x(batch.data), batch.mask)

    def _tokens(self, batch: Batch) -> Float[Array, "B R"]:
        y = self.reader.y(self.reader.standard(batch.data))
        return jnp.concatenate([self.reader.x(batch.data), y], -1)

    def _likelihood(self, batch: Batch, state: Belief) -> Callable[[Array], Float[Array, " B"]]:
        """Log density of each row under the decoder, as a function of z."""
        context, x = self._known(state), self.reader.x(batch.data)
        return lambda z: self.on(self.decoder(z, 0.0, context, x)[None]).log_prob(batch.data)

    def _slopes(self, batch: Batch, state: Belief) -> Float[Array, "B Z"]:
        """Gradients of the rows' log densities: one backward pass with a z for each row."""
        context, x = self._known(state), self.reader.x(batch.data)

        def total(each: Float[Array, "B Z"]) -> Array:
            features = jax.vmap(lambda z, at: self.decoder(z, 0.0, context, at[None])[0])(each, x)
            return jnp.sum(self.on(features[None]).log_prob(batch.data))

        return jax.grad(total)(
            jnp.broadcast_to(state.location, (x.shape[0], *state.location.shape))
        )


def begin_descent(update: LearnedUpdate) -> LearnedUpdate:
    """An update that begins as natural gradient descent: m <- m + `STEP` sd^2 grad."""
    if "gradient" not in update.shape.signals:
        return update
    size = STEP * (1.0 + update.shape.most) ** 0.5
    return eqx.tree_at(lambda u: u.skip, update, update.skip.at[0, 1].set(size))


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
        decoder = LatentDecoder(read, self.latent, self.latent + 1, self.hidden, keys[2])
        return ExplicitPredictor(
            task=task, options=self, reader=read, update=begin_descent(update), decoder=decoder,
            head=begin_regression(Head(decoder.size, read, self.head, keys[3]), read, decoder),
        )  # fmt: skip


METHOD = IterativeExplicit
