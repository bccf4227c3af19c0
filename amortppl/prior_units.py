"""A task's densities as functions of the latents in prior units, differentiable cheaply."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from amortppl.features import PriorScale
from amortppl.gamma import elementary
from amortppl.signals import LogDensity
from amortppl.task import Batch, Task


class Densities(NamedTuple):
    """log p(theta, D), log p(D | theta), log p(y_i | theta) and log p(theta) at latents `at` (P,).

    Attributes:
        task: the task.
        scale: what a prior unit is.
        gammas: whether a density has `lgamma`, whose derivatives are dear (`amortppl.gamma`).
    """

    task: Task
    scale: PriorScale
    gammas: bool

    def joint(self, batch: Batch) -> LogDensity:
        """Log prior and log likelihood of the rows."""
        return self._cheap(lambda at: self.task.log_joint(self._vector(at), batch))

    def likelihood(self, batch: Batch) -> LogDensity:
        """Log likelihood of the rows."""
        return self._cheap(lambda at: self.task.log_likelihood(self._vector(at), batch))

    def rows(self, batch: Batch) -> Callable[[Array], Float[Array, " N"]]:
        """Log likelihood of each row, zero for padding."""

        def each(at: Array) -> Array:
            return jnp.where(batch.mask, self.task.log_densities(self._vector(at), batch.data)[1], 0.0)

        return self._cheap(each)

    def prior(self, at: Array) -> Array:
        """Log prior."""
        return self.task.log_prior(self._vector(at))

    def _vector(self, at: Array) -> Array:
        return stop_gradient(self.scale).restore(at)

    def _cheap(self, density: LogDensity) -> LogDensity:
        return elementary(density) if self.gammas else density
