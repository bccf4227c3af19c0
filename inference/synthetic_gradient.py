"""Learned initialisation and a learned gradient: a task's unlabelled rows refine its weights as
well.

    labelled rows:     weights <- weights - rate grad_w mean_i -log p(y_i | x_i, w)
    unlabelled rows:   weights <- weights - pace grad_w mean_q <stop(s(c_q, x_q)), c_q(w)>

c_q(w) are the coefficients of the predictive distribution at query q, and s stands for the gradient
of the loss in them, which y* would be needed for: a network learns it across tasks, through the
loss after these steps. A state belongs to its queries, whose inputs are the unlabelled rows; one
that comes twice counts once.

Hu, Moreno, Xiao, Shen, Obozinski, Lawrence and Damianou 2020, "Empirical Bayes transductive
meta-learning with synthetic gradients", arXiv 2004.12696.
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
from amortppl.networks.mlp import mlp
from amortppl.predictive.adapted_network import Weights
from amortppl.predictive.gradient_predictor import GradientPredictor, gradient_predictor
from amortppl.predictive.head import Predictive, family
from amortppl.predictive.predictor import PRIOR, Predictor
from amortppl.predictive.preprocessing import Reader
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

LONGEST = 10.0
"""Longest synthetic gradient, over all weights."""


class Transductive(NamedTuple):
    """Inputs of the queries by argument, and the weights that labelled rows and they have led
    to.
    """

    queries: dict[str, Array]
    weights: Weights


class SyntheticGradientPredictor(Predictor):
    """The built method. See `SyntheticGradient` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "SyntheticGradient" = eqx.field(static=True)
    reader: Reader
    learner: GradientPredictor
    judge: eqx.nn.MLP
    log_pace: Float[Array, ""]
    regime: ClassVar[str] = "parametric"
    queries_first: ClassVar[bool] = True

    def init(self, queries: dict[str, Array] | None = None) -> Transductive:
        """The learned initialisation, and the queries (none: a state of no query)."""
        if queries is None:
            like = self.task.rows_like
            queries = {
                n: jnp.zeros((0, *like[n].shape[1:]), like[n].dtype) for n in self.task.inputs
            }
            queries = queries or {"row": jnp.zeros((0, 0))}
        return Transductive(queries, self.learner.init())

    def step(self, state: Transductive, batch: Batch) -> Transductive:
        """Gradient steps on the labelled rows of a mini-batch, then synthetic ones on the
        queries.
        """
        weights = self.learner.step(state.weights, batch)
        if not jax.tree.leaves(state.queries)[0].shape[0]:
            return Transductive(state.queries, weights)
        pace = jnp.exp(self.log_pace) * jnp.any(batch.mask)

        def update(weights: Weights, _: None) -> tuple[Weights, None]:
            slope = self.synthetic(weights, state.queries)
            return jax.tree.map(lambda w, g: w - pace * g, weights, slope), None

        return Transductive(
            state.queries, jax.lax.scan(update, weights, None, self.options.imagined)[0]
        )

    def synthetic(self, weights: Weights, queries: dict[str, Array]) -> Weights:
        """The synthetic gradient in the weights, at most `LONGEST`."""
        x = self.reader.x(queries)
        alike = jnp.all(x[:, None] == x, -1)
        share = 1.0 / jnp.sum(alike, 1)

        def surrogate(weights: Weights) -> Array:
            adapted = self.learner.with_weights(weights, queries)
            coefficients = adapted.head.first(adapted.features[0])
            told = jax.vmap(self.judge)(stop_gradient(jnp.concatenate([coefficients, x], -1)))
            return jnp.sum(share[:, None] * told * coefficients) / jnp.sum(share)

        return _bounded(jax.grad(surrogate)(weights))

    def predictive(self, state: Transductive, query: dict[str, Array]) -> Predictive:
        """The network with the state's weights."""
        return self.learner.predictive(state.weights, query)

    def score(self, state: Transductive, target: Target) -> Array:
        """-log p(y* | x*, D) in nats a query, and a little of it before any row."""
        return self.loss(state, target.query) + PRIOR * self.loss(
            self.init(state.queries), target.query
        )


def _bounded(slope: Weights) -> Weights:
    length = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(slope)) + 1e-12)
    return jax.tree.map(lambda g: g / jnp.maximum(1.0, length / LONGEST), slope)


@dataclass(frozen=True)
class SyntheticGradient:
    """Options.

    Attributes:
        width: of the network's hidden layers.
        updates, rate: gradient steps on the labelled rows of a mini-batch, and their rate to begin
            with.
        imagined, pace: synthetic gradient steps after each mini-batch, and their rate to begin
            with.
        hidden: width of the network that gives the synthetic gradient.
        image: height and width of the input, where it is an image.
    """

    width: int = 40
    updates: int = 5
    rate: float = 0.05
    imagined: int = 3
    pace: float = 0.02
    hidden: int = 32
    image: tuple[int, int] | None = None

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 4000, "batch": 32}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> SyntheticGradientPredictor:
        """Draws the weights for a task."""
        first, second = jr.split(key)
        learner = gradient_predictor(
            task, self.width, self.updates, self.rate, False, first, self.image
        )
        read = learner.reader
        size = family(read.parts[0]).coefficients
        return SyntheticGradientPredictor(
            task=task, options=self, reader=read, learner=learner,
            judge=mlp(size + read.x_size, size, self.hidden, 2, second, start=jnp.zeros(size)),
            log_pace=jnp.log(jnp.asarray(self.pace)),
        )  # fmt: skip


METHOD = SyntheticGradient
