"""Learned optimiser: a recurrent network, the same for every latent, turns gradients into steps.

Andrychowicz et al. 2016, "Learning to learn by gradient descent by gradient descent", arXiv
1606.04474; as an inference network Marino, Yue and Mandt 2018, arXiv 1807.09356.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.gaussian import Gaussian
from amortppl.gaussian.frame import Frame
from amortppl.gaussian.funnel import Valley
from amortppl.gaussian.posterior import Posterior
from amortppl.gaussian.recursive import prior_scale
from amortppl.method import Method, Target
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale


class Searching(NamedTuple):
    """Where the optimiser stands: location and log sd of each latent in prior units, its memory,
    rows seen.
    """

    location: Float[Array, " P"]
    log_sd: Float[Array, " P"]
    memory: Float[Array, "P H"]
    rows: Float[Array, ""]


class OptimiserGuide(Method):
    """The built method. See `LearnedOptimiser` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "LearnedOptimiser" = eqx.field(static=True)
    scale: PriorScale
    cell: eqx.nn.GRUCell
    out: eqx.nn.Linear
    regime: ClassVar[str] = "parametric"

    def init(self) -> Searching:
        """The prior's centre and scale."""
        size = self.task.latents.size
        none = jnp.zeros(size)
        return Searching(none, none, jnp.zeros((size, self.options.memory)), jnp.zeros(()))

    def step(self, state: Searching, batch: Batch) -> Searching:
        """Several updates, each from the gradient of the log joint with the mini-batch standing for
        all rows.
        """
        count, scale = jnp.sum(batch.mask), stop_gradient(self.scale)
        rows = state.rows + count

        def joint(at: Float[Array, " P"]) -> Array:
            vector, share = scale.restore(at), rows / jnp.maximum(count, 1.0)
            return (
                self.task.log_prior(vector) + share * self.task.log_likelihood(vector, batch)
            ) / (1.0 + rows)

        def update(now: Searching, _: None) -> tuple[Searching, None]:
            slope = jnp.nan_to_num(stop_gradient(jax.grad(joint)(stop_gradient(now.location))))
            size = jnp.full_like(slope, jnp.log1p(rows) / 3.0)
            seen = jnp.stack(
                [jnp.arcsinh(slope), jnp.arcsinh(30 * slope), now.location, now.log_sd, size], -1
            )
            memory = jax.vmap(self.cell)(seen, now.memory)
            move, narrow = jax.vmap(self.out)(memory).T
            return Searching(now.location + move, now.log_sd + narrow, memory, rows), None

        after = jax.lax.scan(update, state, None, self.options.updates)[0]
        return jax.tree.map(lambda a, b: jnp.where(count > 0, a, b), after, state)

    def readout(self, state: Searching) -> Posterior:
        """A Gaussian with independent latents."""
        density = Gaussian(self.task.latents.size)
        frame = Frame(state.location, jnp.diag(jnp.exp(-jnp.clip(state.log_sd, -9.0, 3.0))))
        return Posterior(
            stop_gradient(self.scale), frame, density, density.initial(), Valley.none()
        )

    def score(self, state: Searching, target: Target) -> Array:
        """-log q(theta | D) in nats."""
        return -self.readout(state).log_prob(target.latents)


@dataclass(frozen=True)
class LearnedOptimiser:
    """Options: updates for a mini-batch, and numbers that the optimiser remembers of each
    latent.
    """

    updates: int = 12
    memory: int = 20

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 2000, "batch": 64}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> OptimiserGuide:
        """Draws the weights for a task."""
        keys = jr.split(key, 3)
        out = eqx.nn.Linear(self.memory, 2, key=keys[2])
        out = eqx.tree_at(lambda n: (n.weight, n.bias), out, (0.1 * out.weight, jnp.zeros(2)))
        return OptimiserGuide(
            task=task, options=self, scale=prior_scale(task, keys[0], "learned_optimiser"),
            cell=eqx.nn.GRUCell(5, self.memory, key=keys[1]), out=out,
        )  # fmt: skip


METHOD = LearnedOptimiser
