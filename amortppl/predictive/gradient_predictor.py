"""Learned initialisation: a network's weights, from which gradient steps on a task's rows start."""

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from amortppl.predictive.adapted_network import Network, Networked, Weights
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


class GradientPredictor(Networked):
    """weights <- weights - rate * grad of the mean misfit, `updates` times a mini-batch.

    Attributes:
        updates: gradient steps a mini-batch.
        log_rate: of these steps, learned: one number, or one for every weight.
    """

    task: AbstractTask = eqx.field(static=True)
    updates: int = eqx.field(static=True)
    reader: Reader
    network: Network
    log_rate: Any
    regime: ClassVar[str] = "parametric"

    def init(self) -> Weights:
        """The learned initialisation."""
        return eqx.filter(self.network, eqx.is_inexact_array)

    def step(self, state: Weights, batch: Batch) -> Weights:
        """A few gradient steps on the rows of a mini-batch."""
        rates = jax.tree.map(jnp.exp, self.log_rate)
        rates = jax.tree.map(lambda _: rates, state) if isinstance(rates, jax.Array) else rates

        def update(weights: Weights, _: None) -> tuple[Weights, None]:
            gradient = jax.grad(self.misfit)(weights, batch)
            length = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradient)))
            shrink = jnp.where(jnp.any(batch.mask), 1.0 / jnp.maximum(1.0, length / 10.0), 0.0)
            return jax.tree.map(lambda w, g, r: w - shrink * r * g, weights, gradient, rates), None

        return jax.lax.scan(update, state, None, self.updates)[0]

    def weights(self, state: Weights) -> Weights:
        """The state itself."""
        return state


def gradient_predictor(
    task: AbstractTask,
    width: int,
    updates: int,
    rate: float,
    each: bool,
    key: PRNGKeyArray,
    image: tuple[int, int] | None = None,
) -> GradientPredictor:
    """A network of two hidden layers, and one learned rate or one for each of its weights.

    Args:
        task: the task.
        width: of both hidden layers.
        updates: gradient steps a mini-batch.
        rate: of these steps, to begin with.
        each: whether every weight has its own rate.
        key: draws the weights.
        image: height and width of the input, where it is an image.
    """
    keys = jr.split(key)
    read = reader(task, keys[0])
    network = Network(read, width, 2, keys[1], image)
    log_rate: Array = jnp.log(jnp.asarray(rate))
    weights = eqx.filter(network, eqx.is_inexact_array)
    return GradientPredictor(
        task=task,
        updates=updates,
        reader=read,
        network=network,
        log_rate=jax.tree.map(lambda a: jnp.full_like(a, log_rate), weights) if each else log_rate,
    )


@dataclass(frozen=True)
class GradientOptions:
    """Options of the methods that learn an initialisation and nothing else but rates.

    Attributes:
        width: of both hidden layers.
        updates: gradient steps a mini-batch.
        rate: of these steps, to begin with.
        image: height and width of the input, where it is an image.
        own_rates: whether every weight has a learned rate of its own.
    """

    width: int = 40
    updates: int = 5
    rate: float = 0.05
    image: tuple[int, int] | None = None
    own_rates: ClassVar[bool] = False

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 4000, "batch": 32}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> GradientPredictor:
        """Draws the weights for a task."""
        return gradient_predictor(
            task, self.width, self.updates, self.rate, self.own_rates, key, self.image
        )
