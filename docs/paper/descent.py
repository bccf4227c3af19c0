"""Adam and SGD on one task's latents, their rate and updates a mini-batch tuned on other tasks.

theta <- theta - optimiser(grad of  -mean_B log p(y | x, theta) - log p(theta) / 320)
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from paper.measure import QUERIES, curve
from paper.settings import Setting, drawn, setting

OPTIMISERS = {"Adam": optax.adam, "SGD": optax.sgd}

RATES, UPDATES, WHOLE = (0.003, 0.01, 0.03, 0.1, 0.3), (1, 4, 16), 320


class Point(NamedTuple):
    """A readout that is one point."""

    location: Array

    def sample(self, key: Array, draws: int) -> tuple[Array, None]:
        """The point, so many times."""
        return jnp.broadcast_to(self.location, (draws, *self.location.shape)), None


class Descent(eqx.Module):
    """Gradient steps from the prior's centre, as a method."""

    task: AbstractTask = eqx.field(static=True)
    optimiser: str = eqx.field(static=True)
    updates: int = eqx.field(static=True)
    rate: Array
    predicts: bool = eqx.field(static=True, default=False)
    queries_first: bool = eqx.field(static=True, default=False)

    def init(self) -> tuple[Array, Any]:
        """The centre, and the optimiser's memory."""
        centre = jnp.zeros(self.task.latents.size)
        return centre, OPTIMISERS[self.optimiser](self.rate).init(centre)

    def step(self, state: tuple[Array, Any], batch: Batch) -> tuple[Array, Any]:
        """Some updates by the rows of a mini-batch."""

        def loss(at: Array) -> Array:
            rows = self.task.log_likelihood(at, batch) / jnp.sum(batch.mask)
            return -rows - self.task.log_prior(at) / WHOLE

        def update(now: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], None]:
            at, memory = now
            move, memory = OPTIMISERS[self.optimiser](self.rate).update(jax.grad(loss)(at), memory)
            return (at + move, memory), None

        return jax.lax.scan(update, state, None, self.updates)[0]

    def readout(self, state: tuple[Array, Any]) -> Point:
        """The point reached."""
        return Point(state[0])


def tuned(name: str, optimiser: str, seed: int) -> tuple[Descent, dict[str, float]]:
    """The best of all rates and numbers of updates on tasks that are not tested on."""
    own = setting(name)
    data = drawn(name, "like", 90_000 + seed, 64, own.batch * max(own.depths) + QUERIES)
    scores = {}
    for updates in UPDATES:
        for rate in RATES:
            method = Descent(own.task, optimiser, updates, jnp.asarray(rate))
            scores[rate, updates] = _score(method, data, own)
    rate, updates = max(scores, key=lambda pair: scores[pair])
    best = Descent(own.task, optimiser, updates, jnp.asarray(rate))
    return best, {"rate": rate, "updates": updates}


def _score(method: Descent, data: dict[str, Array], own: Setting) -> float:
    """Mean log predictive density over all K, divergence counted as very poor."""
    values = curve(method, data, own.batch, own.depths)  # pyright: ignore[reportArgumentType]
    return float(np.mean(np.nan_to_num(values, nan=-1e6, neginf=-1e6)))
