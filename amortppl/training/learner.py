"""The weights that a training run learns, and one step of Adam (Kingma and Ba 2015, 1412.6980)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from amortppl.training.schedule import Schedule


class Learner(NamedTuple):
    """The state of a run.

    Attributes:
        weights: one flat vector, so that updates are few large operations.
        optimiser: its state.
        average: averaged weights.
        best: the averaged weights with the least held-out loss so far.
        best_loss: that loss.
        slower: share of the schedule's rate that is learned with.
        carried: what else goes from update to update, as a pool of tasks under greedy training.
    """

    weights: Float[Array, " W"]
    optimiser: Any
    average: Float[Array, " W"]
    best: Float[Array, " W"]
    best_loss: Array
    slower: Array
    carried: Any = ()


def adam() -> optax.GradientTransformation:
    """Adam on a gradient of at most length one; its rate comes with each step."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())


def begin(weights: Float[Array, " W"], optimiser: optax.GradientTransformation) -> Learner:
    """The learner before the first update, each of its arrays a copy of its own."""
    copies = [jnp.array(weights) for _ in range(3)]
    memory, infinite = optimiser.init(weights), jnp.asarray(np.inf, weights.dtype)
    return Learner(copies[0], memory, copies[1], copies[2], infinite, jnp.ones_like(infinite))


def descend(
    learner: Learner,
    gradient: Float[Array, " W"],
    optimiser: optax.GradientTransformation,
    schedule: Schedule,
    step: Array,
    fraction: Array,
) -> Learner:
    """One step of Adam, with a warm-up of 20 steps and a cosine decay, and the average.

    Args:
        learner: before it.
        gradient: of the loss.
        optimiser: of `adam`.
        schedule: the peak rate, and the decay of the average.
        step: how many were taken before.
        fraction: of the run that is behind.
    """
    change, memory = optimiser.update(gradient, learner.optimiser)
    cosine = schedule.rate * 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))
    rate = learner.slower * cosine * jnp.minimum(1.0, (step + 1) / 20)
    weights = learner.weights - rate * change
    decay = jnp.minimum(schedule.average, (step + 1) / (step + 10))
    average = decay * learner.average + (1 - decay) * weights
    return learner._replace(weights=weights, optimiser=memory, average=average, carried=())


def choose(condition: Array, yes: Any, no: Any) -> Any:
    """One of two trees."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
