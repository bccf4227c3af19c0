"""The rung of adaptive importance sampling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.method import Method
from amortppl.runtime.batched_map import batched_map
from amortppl.task.batch import Batch
from amortppl.trust import psis
from amortppl.trust.attempt import Attempt, Climb
from amortppl.trust.rungs.batching import (
    Draws,
    batch_together,
    fold_keys,
    pad_arrays,
    split_results,
)

POOL, ROUNDS, FREEDOM = 4, 5, 5.0
"""Importance draws for each draw wanted, rounds of adaptation, and degrees of freedom of the
proposal.
"""


def resample(run: Climb, places: list[int]) -> list[Attempt]:
    """Adaptive importance sampling: Student proposals with the moments of the weighted draws, round
    by round.

    Cappé, Guillin, Marin and Robert 2004 (population Monte Carlo); Paananen, Piironen, Bürkner and
    Vehtari 2021, "Implicitly adaptive importance sampling", for why moments are matched.
    """
    batch, keys = batch_together(run, places, 2)
    best = [(a.vectors, a.log_weights) for a in (run.best[i] for i in places)]
    answers: list[Attempt | None] = [None] * len(places)
    for number in range(ROUNDS):
        moments = [weighted_moments(*b) for b in best]
        centre, factor = (pad_arrays([m[k] for m in moments]) for k in range(2))
        pool = max(POOL * run.draws, 1000)
        found = student_draws(
            run.guide.method, batch, fold_keys(keys, number), centre, factor, pool
        )
        for place, each in enumerate(split_results(found, places)):
            before = answers[place]
            if before is None or before.failed:
                answers[place] = _resample(run, each, run.seed + number)
                weights = psis.check(each[2][None], each[1][None]).log_weights[0]
                best[place] = (np.asarray(each[0], np.float64), weights)
        if all(a is not None and not a.failed for a in answers):
            break
    return [a for a in answers if a is not None]


def _resample(run: Climb, draws: Draws, seed: int) -> Attempt:
    """S of a larger number of importance draws, with probabilities as their smoothed weights
    (systematic).
    """
    vectors, log_guide, log_joint = (np.asarray(a, np.float64) for a in draws)
    found = psis.check(log_joint[None], log_guide[None])
    khat, size = float(found.khat[0]), float(found.sample_size[0])
    failed = "" if khat < run.ladder.khat else f"k-hat {khat:.2f}"
    failed = failed or ("" if size >= run.ladder.ess else f"importance sample size {size:.0f}")
    rng = np.random.default_rng(seed)
    steps = np.cumsum(probabilities(found.log_weights[0]))
    kept = np.searchsorted(steps, (np.arange(run.draws) + rng.uniform()) / run.draws).clip(
        max=len(vectors) - 1
    )
    rng.shuffle(kept)
    level = np.full(run.draws, -np.log(run.draws))
    return Attempt(
        vectors[kept], log_guide[kept], log_joint[kept], level, khat, size, np.nan, failed
    )


def probabilities(log_weights: np.ndarray) -> np.ndarray:
    weights = np.exp(log_weights - np.max(log_weights))
    return weights / weights.sum()


def weighted_moments(vectors: np.ndarray, log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and a Cholesky factor of the covariance; with few effective draws, nearer that
    of all draws.
    """
    weights = probabilities(log_weights)
    size, count = 1 / np.sum(weights**2), vectors.shape[1]
    centre = weights @ vectors
    apart, about = vectors - centre, vectors - vectors.mean(0)
    share = min(1.0, size / (10.0 * count))
    covariance = share * (apart * weights[:, None]).T @ apart + (1 - share) * about.T @ about / len(
        vectors
    )
    scale = np.sqrt(np.diag(covariance)) + 1e-9
    values, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    return centre, np.linalg.cholesky((axes * np.maximum(values, 1e-6)) @ axes.T) * scale[:, None]


@eqx.filter_jit
def student_draws(
    method: Method, batches: Batch, keys: Array, centres: Array, factors: Array, draws: int
) -> Draws:
    """Draws of a multivariate Student distribution, its log density, and the log joint."""

    def one(batch: Batch, key: Array, centre: Array, factor: Array) -> Draws:
        size = len(centre)
        z = jr.normal(jr.fold_in(key, 0), (draws, size))
        chi = 2.0 * jr.gamma(jr.fold_in(key, 1), FREEDOM / 2, (draws, 1)) / FREEDOM
        u = z / jnp.sqrt(chi)
        norm = jax.scipy.special.gammaln((FREEDOM + size) / 2) - jax.scipy.special.gammaln(
            FREEDOM / 2
        )
        norm = (
            norm
            - 0.5 * size * jnp.log(FREEDOM * jnp.pi)
            - jnp.sum(jnp.log(jnp.abs(jnp.diag(factor))))
        )
        log_guide = norm - 0.5 * (FREEDOM + size) * jnp.log1p(jnp.sum(u**2, 1) / FREEDOM)
        vectors = centre + u @ factor.T
        joint = batched_map(lambda v: method.task.log_joint(v, batch), vectors, 256)
        return vectors, log_guide, joint

    return jax.vmap(one)(batches, keys, centres, factors)
