"""Guides spoiled on purpose, and the exact guide of `line_model`, to test what must tell them
apart.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from amortppl.guide.guide import Guide
from amortppl.method import Method
from amortppl.task.task import Task


class Moved(eqx.Module):
    """A posterior whose draws are moved: (u - mean) * spread + mean + shift * sd, latents in
    another order.
    """

    base: Any
    spread: float
    shift: float
    order: tuple[int, ...] = eqx.field(static=True)

    def _moments(self):
        vectors = self.base.sample(jr.key(0), 2000)[0]
        return jnp.mean(vectors, 0), jnp.std(vectors, 0)

    def sample(self, key, draws):
        vectors, log_prob = self.base.sample(key, draws)
        mean, sd = self._moments()
        moved = mean + self.spread * (vectors - mean) + self.shift * sd
        return moved[:, jnp.array(self.order)], log_prob - vectors.shape[1] * jnp.log(self.spread)

    def log_prob(self, vector):
        mean, sd = self._moments()
        back = jnp.zeros_like(vector).at[jnp.array(self.order)].set(vector)
        back = mean + (back - mean - self.shift * sd) / self.spread
        return self.base.log_prob(back) - len(vector) * jnp.log(self.spread)


class Spoiled(Method):
    """A method whose readouts are moved."""

    base: Method
    task: Task = eqx.field(static=True)
    spread: float
    shift: float
    order: tuple[int, ...] = eqx.field(static=True)
    regime: ClassVar[str] = "parametric"

    def init(self):
        return self.base.init()

    def step(self, state, batch):
        return self.base.step(state, batch)

    def readout(self, state):
        return Moved(self.base.readout(state), self.spread, self.shift, self.order)

    def score(self, state, target):
        return self.base.score(state, target)


def spoiled(guide, spread=1.0, shift=0.0, order=None):
    """A guide with sds times `spread`, means moved by `shift` sds, and latents in another order."""
    order = tuple(order or range(guide.task.latents.size))
    return Guide(
        Spoiled(guide.method, guide.task, spread, shift, order),
        guide.spec,
        guide.record,
        guide.seed,
        guide.ranges,
    )


class ExactState(eqx.Module):
    """Natural parameters of the weights."""

    precision: jax.Array
    linear: jax.Array


class Exact(Method):
    """The exact posterior of `line_model`, which is conjugate: what a perfect guide would be."""

    task: Task = eqx.field(static=True)
    regime: ClassVar[str] = "parametric"

    def init(self):
        return ExactState(jnp.eye(2), jnp.zeros(2))

    def step(self, state, batch):
        x = jnp.where(batch.mask[:, None], batch.data["x"], 0.0)
        return ExactState(state.precision + x.T @ x, state.linear + x.T @ batch.data["y"])

    def readout(self, state):
        return Normal(
            jnp.linalg.solve(state.precision, state.linear), jnp.linalg.inv(state.precision)
        )

    def score(self, state, target):
        return -self.readout(state).log_prob(target.latents)


class Normal(eqx.Module):
    """A multivariate normal readout."""

    mean: jax.Array
    covariance: jax.Array

    def log_prob(self, vector):
        return jax.scipy.stats.multivariate_normal.logpdf(vector, self.mean, self.covariance)

    def sample(self, key, draws):
        vectors = jr.multivariate_normal(key, self.mean, self.covariance, (draws,))
        return vectors, self.log_prob(vectors)


class Tailed(Normal):
    """A normal readout of which one draw in fifty comes from one `width` times as wide."""

    width: float

    def log_prob(self, vector):
        far = Normal(self.mean, self.width**2 * self.covariance).log_prob(vector)
        return jnp.logaddexp(jnp.log(0.98) + super().log_prob(vector), jnp.log(0.02) + far)

    def sample(self, key, draws):
        near, far = jr.split(key)
        vectors = super().sample(near, draws)[0] - self.mean
        scale = jnp.where(jr.bernoulli(far, 0.02, (draws, 1)), self.width, 1.0)
        vectors = self.mean + scale * vectors
        return vectors, jax.vmap(self.log_prob)(vectors)


class FarOut(Exact):
    """Exact, but for the tails of datasets of which the first weight's mean is above `above`."""

    width: float
    above: float

    def readout(self, state):
        exact = super().readout(state)
        return Tailed(
            exact.mean, exact.covariance, jnp.where(exact.mean[0] > self.above, self.width, 1.0)
        )


def exact(guide):
    """The exact guide of the task of a guide of `line_model`."""
    return Guide(Exact(guide.task), guide.spec, guide.record, guide.seed, guide.ranges)


def far_out(guide, width=3000.0, above=-jnp.inf):
    """The exact guide, with a few draws that far out."""
    return Guide(
        FarOut(guide.task, width, above), guide.spec, guide.record, guide.seed, guide.ranges
    )
