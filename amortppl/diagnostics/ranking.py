"""Ranks of what made a dataset among draws from its posterior."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from amortppl.gaussian.log_density import Densities
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale

HEIGHTS = 30
"""Draws at which the model's joint density is evaluated.

It costs more than all else where rows are integrated over, and a rank among few draws is as uniform
as one among many."""


class Posterior(NamedTuple):
    """Draws from a posterior of one dataset, unconstrained.

    Attributes:
        vectors: S draws, (S, P).
        counts: which of them count, (S,).
        log_density: log q at the draws, (S,); NaN where it is not known.
        at_truth: log q at the latents that made the dataset; NaN likewise.
    """

    vectors: Float[Array, "S P"]
    counts: Bool[Array, " S"]
    log_density: Float[Array, " S"]
    at_truth: Float[Array, ""]


def rank_truth(
    task: AbstractTask,
    batch: Batch,
    posterior: Posterior,
    truth: Float[Array, " P"],
    reference: Float[Array, " P"],
    scale: Float[Array, " P"],
    ties: Float[Array, " Q"],
    gammas: bool = False,
) -> tuple[Array, ...]:
    """Fields of `amortppl.diagnostics.sbc.Measurements`, from `mean` on, of one dataset.

    Args:
        task: the task.
        batch: the dataset.
        posterior: draws from what is measured.
        truth: the latents that made the dataset.
        reference: a point, and the scale of the latents, for distances (TARP).
        scale: of each latent.
        ties: uniform numbers that break ties, of the latents, log q, distances and joint density.
        gammas: as of `Densities`.
    """
    vectors, counts, log_q, at = posterior
    joint = jnp.full((), jnp.nan)
    if task.has_density:
        unscaled = PriorScale(jnp.zeros_like(truth), jnp.ones_like(truth))
        height = Densities(task, unscaled, gammas).joint(batch)
        heights = jax.vmap(height)(jnp.vstack([truth, vectors[:HEIGHTS]]))
        joint = _below(heights[1:], heights[0], ties[-1], counts[:HEIGHTS])
    apart = jnp.sum(((vectors - reference) / scale) ** 2, 1)
    tarp = _below(apart, jnp.sum(((truth - reference) / scale) ** 2), ties[-2], counts)
    level = _below(vectors, truth, ties[:-3], counts)
    density = jnp.where(jnp.isnan(at), jnp.nan, _below(log_q, at, ties[-3], counts))
    mean, sd = _moments(vectors, counts)
    return mean, sd, level, density, joint, tarp, at


def _moments(vectors: Array, counts: Array) -> tuple[Array, Array]:
    """Mean and sd (P,) of the draws that count."""
    size, weights = jnp.sum(counts), counts[:, None]
    mean = jnp.sum(jnp.where(weights, vectors, 0.0), 0) / size
    squares = jnp.sum(jnp.where(weights, (vectors - mean) ** 2, 0.0), 0)
    return mean, jnp.sqrt(squares / jnp.maximum(size - 1, 1))


def _below(
    draws: Float[Array, "S *P"],
    value: Float[Array, "*P"],
    tie: Float[Array, "*P"],
    counts: Bool[Array, " S"],
) -> Float[Array, "*P"]:
    """(rank + U) / (S + 1), uniform on (0, 1) when the value is one more draw.

    U ~ U(0, 1), given as `tie`, breaks ties evenly.
    """
    weights = counts.reshape(-1, *(1,) * (draws.ndim - 1))
    lower = jnp.where(draws < value, 1.0, jnp.where(draws == value, tie, 0.0))
    return (jnp.sum(weights * lower, 0) + tie) / (jnp.sum(counts) + 1.0)
