"""A task's densities as functions of the latents in prior units, differentiable cheaply."""

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, PRNGKeyArray

from amortppl.gaussian.frame import LogDensity, Precision
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.newton import outer_products
from amortppl.gaussian.row_chunks import many, sum_chunks
from amortppl.runtime.jaxpr_rewriting import rewrite
from amortppl.runtime.log_gamma import ELEMENTARY, differentiates_log_gamma
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale

SIMULATED = 256
"""The fewest simulated rows that an information is the mean of: its relative error is about sqrt(2
/ 256), 9%.
"""


class Densities(NamedTuple):
    """log p(theta, D), log p(D | theta), log p(y_i | theta) and log p(theta) at latents `at` (P,).

    Attributes:
        task: the task.
        scale: what a prior unit is, not to be differentiated.
        gammas: whether a density has `lgamma`, whose derivatives are dear
            (`amortppl.runtime.log_gamma`).
        funnel: of the coordinates in which latents are given, and of which the prior is a density.
    """

    task: AbstractTask
    scale: PriorScale
    gammas: bool
    funnel: Funnel | None = None

    def within(self, funnel: Funnel) -> "Densities":
        """The same, of latents in a funnel's coordinates."""
        return self._replace(funnel=stop_gradient(funnel))

    def joint(self, batch: Batch) -> LogDensity:
        """Log prior and log likelihood of the rows; of many (`amortppl.gaussian.row_chunks.many`)
        portion by portion, and with
        a further argument `few` of the first portion alone."""

        def part(at: Array, portion: Batch, first: Array | bool = True) -> Array:
            prior, rows = self._of(at, portion.data)
            return jnp.where(first, prior, 0.0) + jnp.sum(jnp.where(portion.mask, rows, 0.0))

        return sum_chunks(part, batch) if many(self.task, batch) else lambda at: part(at, batch)

    def likelihood(self, batch: Batch) -> LogDensity:
        """Log likelihood of the rows."""
        return lambda at: jnp.sum(jnp.where(batch.mask, self._of(at, batch.data)[1], 0.0))

    def information(self, batch: Batch, key: PRNGKeyArray) -> Precision:
        """Fisher information of the rows, from gradients alone: scores of observations simulated at
        the latents.

            sum_i E_{y ~ p(y | x_i, theta)} [s s'],    s = grad_theta log p(y | x_i, theta)

        Unlike the scores of the rows themselves, it is a sensible curvature far from the mode too,
        where those are large, and does not vary with the gradient that it divides. Where rows may
        be added, each one's inputs serve several simulated rows, all equally many; elsewhere the
        whole batch is simulated several times. Amari 1998, "Natural gradient works efficiently in
        learning".

        Args:
            key: of the simulated observations, the same wherever the information is evaluated.
        """
        size, count = batch.mask.shape[0], jnp.sum(batch.mask)
        if self.task.row_free:
            place = jnp.arange(max(size, SIMULATED))
            used = place < len(place) // jnp.maximum(count, 1) * count
            place = jnp.flatnonzero(batch.mask, size=size, fill_value=0)[
                place % jnp.maximum(count, 1)
            ]
            keys = key[None]
        else:
            place, used = jnp.arange(size), batch.mask
            keys = jr.split(key, ceil(SIMULATED / size))
        inputs = {n: batch.data[n][place] for n in self.task.inputs}
        share = count / jnp.maximum(jnp.sum(used), 1)

        def simulated(at: Array, key: PRNGKeyArray) -> Array:
            data = inputs | self.task.predict(key, self._vector(at), inputs, len(place))
            return outer_products(lambda at: jnp.where(used, self._of(at, data)[1], 0.0), at)

        return lambda at: share * jnp.mean(jax.vmap(simulated, in_axes=(None, 0))(at, keys), 0)

    def prior(self, at: Array, batch: Batch | None = None) -> Array:
        """Log prior; beside a batch, by the run of the model that looks at its rows too."""
        if batch is None or many(self.task, batch):
            return self.task.log_prior(self._vector(at)) + self._log_det(at)
        return self._of(at, batch.data)[0]

    def _of(self, at: Array, data: Mapping[str, Array]) -> tuple[Array, Array]:
        prior, rows = _log_densities(self.task, self.gammas, self._vector(at), dict(data))
        return prior + self._log_det(at), rows

    def _vector(self, at: Array) -> Array:
        return self.scale.restore(at if self.funnel is None else self.funnel.forward(at))

    def _log_det(self, at: Array) -> Array:
        return jnp.zeros(()) if self.funnel is None else self.funnel.log_det(at)


@partial(jax.jit, static_argnums=(0, 1))
def _log_densities(
    task: AbstractTask, gammas: bool, vector: Array, data: dict[str, Array]
) -> tuple[Array, Array]:
    """The model is run, and differentiated, once for all that look at rows of the same shape."""
    return rewrite(task.log_densities, ELEMENTARY if gammas else {})(vector, data)


def has_log_gamma(task: AbstractTask) -> bool:
    """Whether derivatives of the likelihood have digamma functions, as of many counts."""
    if not task.has_density:
        return False
    blank = {n: jnp.zeros(s.shape, s.dtype) for n, s in task.rows_like.items()}

    def total(vector: Array) -> Array:
        return jnp.sum(task.log_densities(vector, blank)[1])

    return differentiates_log_gamma(total, jnp.zeros(task.latents.size))
