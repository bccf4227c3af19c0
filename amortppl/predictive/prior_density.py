"""The prior density of latents: a task's own, or one that is learned where a task has none."""

import equinox as eqx
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities import Density, density
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import PriorScale


class LatentPrior(eqx.Module):
    """log p(theta) of the unconstrained vector.

    Attributes:
        task: whose prior it is.
        scale: prior units.
        learned: a density in these, where the task has latents but no density of them, as of
            simulations that are a table; else None.
    """

    task: AbstractTask = eqx.field(static=True)
    scale: PriorScale
    learned: Density | None

    def __call__(self, vector: Float[Array, " P"]) -> Array:
        """Log density of one vector."""
        if self.learned is None:
            return self.task.log_prior(vector)
        scale = stop_gradient(self.scale)
        inside = self.learned.log_prob(scale.standardize(vector), self.learned.initial())
        return inside - jnp.sum(jnp.log(scale.scale))

    def loss(self, vector: Float[Array, " P"]) -> Array:
        """-log q(theta) in prior units, 0 where nothing is to be learned."""
        if self.learned is None:
            return jnp.zeros(())
        return -self(vector) - jnp.sum(jnp.log(stop_gradient(self.scale.scale)))


def latent_prior(task: AbstractTask, scale: PriorScale, key: PRNGKeyArray) -> LatentPrior:
    """A task's own prior density, or one to be learned beside the rest."""
    own = task.has_prior
    flow = None if own else density("spline_flow", task.latents.size, key)
    return LatentPrior(task, scale, flow)
