"""The rung of adaptive importance sampling."""

import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array

from amortppl.errors import ModelError
from amortppl.method import Method
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import Compiled
from amortppl.task.batch import Batch
from amortppl.trust import psis
from amortppl.trust.attempt import Attempt, Climb
from amortppl.trust.rungs.batching import (
    Draws,
    batch_together,
    fold_keys,
    pad_arrays,
    split_results,
    together,
)

MOST = 1000
"""Latents of which proposals of all at once are tried: their covariance costs the cube."""

POOL, ROUNDS, FREEDOM = 4, 5, 5.0
"""Importance draws for each draw wanted, rounds, and degrees of freedom of the proposal."""


def resample(run: Climb, places: list[int]) -> list[Attempt]:
    """Adaptive importance sampling: Student-t proposals with the moments of the weighted draws.

    Each round's proposal has the moments of the draws of the round before. A dataset keeps its
    first attempt that passes. Cappé, Guillin, Marin and Robert 2004 (population Monte Carlo);
    Paananen, Piironen, Bürkner and Vehtari 2021, "Implicitly adaptive importance sampling", for
    why moments are matched.

    Raises:
        ModelError: more than `MOST` latents.
    """
    if run.guide.task.latents.size > MOST:
        raise ModelError(f"more than {MOST:,} latents to propose at once")
    batch, keys = batch_together(run, places, 2)
    best = [(a.vectors, a.log_weights) for a in (run.best[i] for i in places)]
    attempts: list[Attempt | None] = [None] * len(places)
    for number in range(ROUNDS):
        draws = _propose(run, batch, fold_keys(keys, number), best)
        for place, each in enumerate(split_results(draws, places)):
            if _passed(attempts[place]):
                continue
            attempts[place] = resample_draws(run, each, run.seed + number)
            weights = psis.check(each[2][None], each[1][None]).log_weights[0]
            best[place] = (np.asarray(each[0], np.float64), weights)
        if all(map(_passed, attempts)):
            break
    return [a for a in attempts if a is not None]


def _passed(attempt: Attempt | None) -> bool:
    return attempt is not None and not attempt.failed


def _propose(
    run: Climb, batch: Batch, keys: Array, best: list[tuple[np.ndarray, np.ndarray]]
) -> Draws:
    """Draws of the proposals whose moments are those of weighted draws, by dataset."""
    moments = [weighted_moments(*draws) for draws in best]
    centre, factor = (pad_arrays([m[k] for m in moments]) for k in range(2))
    return student_draws(run.guide.method, batch, keys, centre, factor, max(POOL * run.draws, 1000))


def resample_draws(run: Climb, draws: Draws, seed: int) -> Attempt:
    """S of a larger number of importance draws, by their smoothed weights (systematic sampling)."""
    vectors, log_guide, log_joint = (np.asarray(a, np.float64) for a in draws)
    check = psis.check(log_joint[None], log_guide[None])
    khat, size = float(check.khat[0]), float(check.sample_size[0])
    failed = "" if khat < run.ladder.khat else f"k-hat {khat:.2f}"
    failed = failed or ("" if size >= run.ladder.ess else f"importance sample size {size:.0f}")
    kept = systematic(check.log_weights[0], run.draws, seed)
    level = np.full(run.draws, -np.log(run.draws))
    return Attempt(
        vectors[kept], log_guide[kept], log_joint[kept], level, khat, size, np.nan, failed
    )


def systematic(log_weights: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Places of so many draws, in random order, each taken as often as its weight says, up to one
    more or less (Kitagawa 1996).
    """
    rng = np.random.default_rng(seed % 2**64)
    steps = np.cumsum(probabilities(log_weights))
    kept = np.searchsorted(steps, (np.arange(draws) + rng.uniform()) / draws)
    kept = kept.clip(max=len(log_weights) - 1)
    rng.shuffle(kept)
    return kept


def probabilities(log_weights: np.ndarray) -> np.ndarray:
    """Weights that add up to one, from their logs (S,)."""
    weights = np.exp(log_weights - np.max(log_weights))
    return weights / weights.sum()


def weighted_moments(vectors: np.ndarray, log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean (P,) and a lower Cholesky factor of the covariance (P, P) of draws (S, P).

    With an effective number of draws below 10 P, the covariance is mixed with that of all draws.
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


@Compiled
def student_draws(
    method: Method, batches: Batch, keys: Array, centres: Array, factors: Array, draws: int
) -> Draws:
    """Draws of a multivariate Student-t for each dataset, its log density, and the log joint.

    Args:
        method: of the task whose log joint is evaluated.
        batches, keys: one of each dataset.
        centres, factors: location (T, P) and lower factor of the scale matrix (T, P, P).
        draws: S.

    Returns:
        (T, S, P), (T, S) and (T, S).
    """

    def one(batch: Batch, key: Array, centre: Array, factor: Array) -> Draws:
        student = dist.MultivariateStudentT(FREEDOM, centre, factor)
        vectors = student.sample(key, (draws,))
        size = together(method.task, batches)
        joint = batched_map(lambda v: method.task.log_joint(v, batch), vectors, size)
        return vectors, student.log_prob(vectors), joint

    return jax.vmap(one)(batches, keys, centres, factors)
