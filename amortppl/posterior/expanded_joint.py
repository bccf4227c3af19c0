"""Log joint densities of many rows, by an expansion and a sample of the rows.

    log p(theta, D) = log p(theta) + l(c) + g'd + d'H d / 2 + sum_i r_i(theta),    d = theta - c

with c the mean of the draws, g and H the derivatives of the log likelihood l of all N rows there,
and r_i what the expansion of row i leaves. The sum of the r_i is N times its mean over n rows. As
draws lie within some N^-1/2 of c, r_i is of order N^-3/2, and the standard error of order
(n N)^-1/2: a thousand rows are enough, however many there are.

Draws farthest from c are evaluated on all rows beside; where these or the standard errors say more
than `TOLERANCE`, all draws are.

Quiroz, Kohn, Villani and Tran 2019, "Speeding up MCMC by efficient data subsampling", JASA 114.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from amortppl.gaussian.log_density import Densities, has_log_gamma
from amortppl.gaussian.row_chunks import chunk_loop
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import jit_lightly
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale

SAMPLED, FEWEST, SHARE = 1024, 128, 4
"""n at most and at least, and how many times as many rows there are."""

FARTHEST = 8
"""Draws that are evaluated on all rows."""

TOLERANCE = 0.05
"""Nats by which a log joint may be off, relative to the others."""

DEAR, LATENTS = 1 << 26, 64
"""Densities of rows, of all draws together, from which on this is cheaper; most latents."""

WORK = 1 << 18
"""Densities evaluated at once."""


class Expanded(NamedTuple):
    """Log joints of S draws.

    Attributes:
        height: the log likelihood at the mean of the draws.
        rest: what is added to it, (S,).
        error: the largest standard error of `rest`.
        missed: the largest difference from draws evaluated on all rows.
    """

    height: Float[Array, ""]
    rest: Float[Array, " S"]
    error: Float[Array, ""]
    missed: Float[Array, ""]


def log_joints(
    task: AbstractTask, vectors: Float[Array, "S P"], batch: Batch
) -> Float[np.ndarray, " S"] | None:
    """Log joints of one dataset's draws in 64 bits; None where they need every row.

    Args:
        task: the task.
        vectors: the draws, unconstrained.
        batch: the padded rows.
    """
    rows = np.flatnonzero(np.asarray(batch.mask))
    if not is_cheaper(task, len(vectors), len(rows), batch):
        return None
    size = min(SAMPLED, 1 << (len(rows) // SHARE).bit_length() - 1)  # one program for many sizes
    picked = np.random.default_rng(0).choice(rows, size, replace=False)
    expanded = _expand(task, vectors, batch, np.sort(picked).astype(np.int32))
    if not is_close(expanded):
        return None
    return float(expanded.height) + np.asarray(expanded.rest, np.float64)


def is_close(expanded: Expanded) -> bool:
    """Whether no log joint is off by `TOLERANCE`, as far as both checks tell; not where one is NaN.

    >>> fine, nan = jnp.array(0.01), jnp.array(jnp.nan)
    >>> [is_close(Expanded(fine, fine[None], *each)) for each in ((fine, fine), (fine, nan))]
    [True, False]
    """
    return float(expanded.error) < TOLERANCE and float(expanded.missed) < TOLERANCE


def is_cheaper(task: AbstractTask, draws: int, rows: int, batch: Batch) -> bool:
    """Whether an expansion and a sample cost less than every row for every draw."""
    if not (task.local and task.independent) or task.has_further_lines(batch.data):
        return False
    dear = draws * rows * task.evaluations(batch.data) >= DEAR
    return dear and rows >= SHARE * FEWEST and draws > FARTHEST and task.latents.size <= LATENTS


@jit_lightly
def _expand(
    task: AbstractTask, vectors: Float[Array, "S P"], batch: Batch, picked: Int[Array, " n"]
) -> Expanded:
    scale = PriorScale(jnp.mean(vectors, 0), jnp.maximum(jnp.std(vectors, 0), 1e-30))
    log = Densities(task, scale, has_log_gamma(task))
    at = (vectors - scale.centre) / scale.scale
    far = jax.lax.top_k(jnp.sum(at * at, 1), FARTHEST)[1]
    height, gradient, hessian, exact = _all_rows(log, batch, at[far])
    prior, remainder, spread = _sampled(log, batch, at, picked)
    share = jnp.sum(batch.mask) / len(picked)
    likelihood = at @ gradient + jnp.sum(at @ hessian * at, 1) / 2 + share * remainder
    error = jnp.sum(batch.mask) / jnp.sqrt(len(picked)) * jnp.max(spread)
    missed = jnp.max(jnp.abs(likelihood[far] - exact))
    return Expanded(height, prior + likelihood, error, missed)


def _all_rows(log: Densities, batch: Batch, far: Float[Array, "K P"]) -> tuple[Array, ...]:
    """Height, gradient and Hessian of the log likelihood at 0, and its differences at K places."""
    zero = jnp.zeros(far.shape[1])

    def part(chunk: Batch, _: Array) -> tuple[Array, ...]:
        def total(at: Array) -> Array:
            return jnp.sum(jnp.where(chunk.mask, log.by_row(at, chunk), 0.0))

        def along(axis: Array) -> tuple[Array, Array, Array]:
            (height, slope), (_, product) = jax.jvp(jax.value_and_grad(total), (zero,), (axis,))
            return height, slope, product

        once = jax.vmap(along, out_axes=(None, None, 0))(jnp.eye(len(zero)))
        each = jax.vmap(lambda at: log.by_row(at, chunk))(jnp.concatenate([zero[None], far]))
        return *once, jnp.sum(jnp.where(chunk.mask, each[1:] - each[0], 0.0), 1)

    return chunk_loop(batch)(part, jnp.asarray(False))


def _sampled(
    log: Densities, batch: Batch, at: Float[Array, "S P"], picked: Int[Array, " n"]
) -> tuple[Array, Array, Array]:
    """For each draw the log prior, the sum of the rows' remainders and their standard deviation."""
    rows = Batch({n: v[picked] for n, v in batch.data.items()}, jnp.ones(len(picked), bool))
    zero = jnp.zeros(at.shape[1])

    def one(place: Array) -> tuple[Array, Array, Array]:
        def slope(at: Array) -> tuple[Array, Array]:
            return jax.jvp(lambda at: log.by_row(at, rows), (at,), (place,))

        (height, first), (_, second) = jax.jvp(slope, (zero,), (place,))
        prior, there = log.with_prior(place, rows)
        left = there - height - first - second / 2
        return prior, jnp.sum(left), jnp.std(left)

    return batched_map(one, at, WORK // (len(picked) * log.task.evaluations(rows.data)))
