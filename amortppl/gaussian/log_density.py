"""A task's densities as functions of the latents in prior units, differentiable cheaply."""

from collections.abc import Callable, Mapping
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
from amortppl.gaussian.newton import differentiate, outer_products
from amortppl.gaussian.row_chunks import chunk_loop, many, sum_chunks
from amortppl.runtime.jaxpr_rewriting import rewrite
from amortppl.runtime.log_gamma import ELEMENTARY, differentiates_log_gamma
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale

SIMULATED = 256
"""Fewest simulated rows that a Fisher information averages.

Its relative error is about sqrt(2 / 256), 9%.
"""


class Densities(NamedTuple):
    """log p(theta, D), log p(D | theta), log p(y_i | theta) and log p(theta) at latents `at` (P,).

    Attributes:
        task: the task.
        scale: the prior units of the latents, not differentiated.
        gammas: whether a density has `lgamma`, whose derivatives are dear
            (`amortppl.runtime.log_gamma`).
        funnel: gives the coordinates of the latents; None for prior units alone. The prior is a
            density of these coordinates.
    """

    task: AbstractTask
    scale: PriorScale
    gammas: bool
    funnel: Funnel | None = None

    def within(self, funnel: Funnel) -> "Densities":
        """The same densities, of latents in a funnel's coordinates."""
        return self._replace(funnel=stop_gradient(funnel))

    def joint(self, batch: Batch) -> LogDensity:
        """Log prior plus log likelihood of the rows.

        Of many rows (`amortppl.gaussian.row_chunks.many`) it is summed chunk by chunk, and takes a
        second argument `few`: True for the first chunk alone.
        """

        def part(at: Array, chunk: Batch, first: Array | bool = True) -> Array:
            prior, rows = self._of(at, chunk.data)
            return jnp.where(first, prior, 0.0) + jnp.sum(jnp.where(chunk.mask, rows, 0.0))

        return sum_chunks(part, batch) if many(self.task, batch) else lambda at: part(at, batch)

    def derivatives(self, batch: Batch) -> Callable[[Array, Array, Array], tuple[Array, ...]]:
        """Heights, gradients and Hessian products of the log joint, as `nested_laplace` takes them.

        At M places (M, P), along vectors (M, P), all places together for each chunk of rows. Of the
        log prior alone where the third argument is True.
        """
        cut = many(self.task, batch)
        over = chunk_loop(batch) if cut else lambda evaluate, _: evaluate(batch, True)

        def part(at: Array, chunk: Batch, first: Array | bool, kept: Array) -> Array:
            prior, rows = self._of(at, chunk.data)
            return jnp.where(first, prior, 0.0) + jnp.sum(jnp.where(kept, rows, 0.0))

        def evaluate(places: Array, along: Array, prior: Array) -> tuple[Array, ...]:
            def total(chunk: Batch, first: Array | bool) -> tuple[Array, ...]:
                f = lambda at: part(at, chunk, first, chunk.mask & ~prior)  # noqa: E731
                return jax.vmap(partial(differentiate, f))(places, along)

            return over(total, prior)

        return evaluate

    def likelihood(self, batch: Batch) -> LogDensity:
        """Log likelihood of the rows."""
        return lambda at: jnp.sum(jnp.where(batch.mask, self._of(at, batch.data)[1], 0.0))

    def by_row(self, at: Array, batch: Batch) -> Array:
        """Log likelihood of each row, the masked ones too."""
        return self._of(at, batch.data)[1]

    def with_prior(self, at: Array, batch: Batch) -> tuple[Array, Array]:
        """Log prior, and log likelihood of each row, in one run of the model."""
        return self._of(at, batch.data)

    def information(self, batch: Batch, key: PRNGKeyArray) -> Precision:
        """Fisher information of the rows, by scores of observations simulated at the latents.

            sum_i E_{y ~ p(y | x_i, theta)} [s s'],    s = grad_theta log p(y | x_i, theta)

        The scores of the rows themselves are large far from the mode and vary with the gradient;
        these do not, so that the information is a sensible curvature there too. Where rows may be
        added, each row's inputs serve several simulated rows, equally many for each; elsewhere the
        whole batch is simulated several times. Amari 1998, "Natural gradient works efficiently in
        learning".

        Args:
            batch: the rows.
            key: of the simulated observations, the same wherever the information is evaluated.
        """
        place, used, keys = self._simulated_rows(batch, key)
        inputs = {n: batch.data[n][place] for n in self.task.inputs}
        share = jnp.sum(batch.mask) / jnp.maximum(jnp.sum(used), 1)

        def simulated(at: Array, key: PRNGKeyArray) -> Array:
            data = inputs | self.task.replicate(key, self._vector(at), inputs, len(place))
            return outer_products(lambda at: jnp.where(used, self._of(at, data)[1], 0.0), at)

        return lambda at: share * jnp.mean(jax.vmap(simulated, in_axes=(None, 0))(at, keys), 0)

    def _simulated_rows(self, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Array, PRNGKeyArray]:
        """Indices of the rows whose inputs are simulated from, which of them count, and keys."""
        size, count = batch.mask.shape[0], jnp.sum(batch.mask)
        if not self.task.row_free:
            return jnp.arange(size), batch.mask, jr.split(key, ceil(SIMULATED / size))
        place = jnp.arange(max(size, SIMULATED))
        used = place < len(place) // jnp.maximum(count, 1) * count
        rows = jnp.flatnonzero(batch.mask, size=size, fill_value=0)
        return rows[place % jnp.maximum(count, 1)], used, key[None]

    def prior(self, at: Array, batch: Batch | None = None) -> Array:
        """Log prior; with a batch, by the run of the model that evaluates its rows too."""
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


def log_joint(task: AbstractTask, vector: Array, batch: Batch) -> Array:
    """`AbstractTask.log_joint`, rewritten: searches and draws share the trace of its densities.

    >>> import amortppl as ap
    >>> batch = Batch({"y": jnp.zeros(4)}, jnp.arange(4) < 3)
    >>> task = ap.model("gaussian_mean", rows=(4, 8))
    >>> bool(log_joint(task, jnp.zeros(1), batch) == task.log_joint(jnp.zeros(1), batch))
    True
    """
    prior, rows = _log_densities(task, False, vector, dict(batch.data))
    return prior + jnp.sum(jnp.where(batch.mask, rows, 0.0))


@partial(jax.jit, static_argnums=(0, 1))
def _log_densities(
    task: AbstractTask, gammas: bool, vector: Array, data: dict[str, Array]
) -> tuple[Array, Array]:
    """Log prior and log density of each row; jitted, so rows of one shape share one trace."""
    return rewrite(task.log_densities, ELEMENTARY if gammas else {})(vector, data)


def has_log_gamma(task: AbstractTask) -> bool:
    """Whether derivatives of the likelihood have digamma functions, as those of counts do."""
    if not task.has_density:
        return False
    blank = {n: jnp.zeros(s.shape, s.dtype) for n, s in task.rows_like.items()}

    def total(vector: Array) -> Array:
        return jnp.sum(task.log_densities(vector, blank)[1])

    return differentiates_log_gamma(total, jnp.zeros(task.latents.size))
