"""Does a posterior have a mode where an answer has no draws?

Importance weights compare densities at the draws, so an answer that sits on one mode of several
passes them. Here mass is looked for elsewhere. With the region R of the draws, their normalised
weights w_s, and p the joint density:

    mass outside / Z >= E_prior[ p(D | theta) 1(theta not in R) ] / Z
    mass of g(R) / Z  =  sum_s w_s p(g(theta_s)) / p(theta_s),   g(theta_s) not in R

for maps g that keep volumes: another sign of one or two latents, two entries of all vectors
exchanged (the labels of components). Mass e at d sds from the mean changes the logarithm of a sd by
about log sqrt(1 + e d^2); that of all mass seen is the figure. The sums are of numbers that are not
negative, so a figure of c is reached with a probability of at most E[e d^2] / (exp(2 c) - 1)
(Markov's inequality). Mass counts from `EXPECTED` / S on, S the number of draws: less, as in far
tails that few rows leave, exact draws miss as well. And a figure from prior draws, which one of
them can make large, counts only where `AGAIN` times as many others confirm it.

R is the ellipsoid of the draws' covariance, `BEYOND` times as far as the draw farthest out. 1 / Z
is Geweke's modified harmonic mean with a normal density on the half of R in the middle (Geweke
1999, "Using simulation methods for Bayesian econometric models").

The log joint is evaluated by NumPy, without compiling. What prior draws cannot hit, a narrow mode
among many latents that no such map reaches, is not seen.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaincinv

from amortppl.data.dataset import Dataset
from amortppl.errors import UnreliableWarning
from amortppl.posterior.draws import Drawn
from amortppl.posterior.padding import pad
from amortppl.runtime.jaxpr_rewriting import rewrite
from amortppl.runtime.numpy_evaluation import Traced, evaluate
from amortppl.runtime.seeds import seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.trust.pareto import log_sum_exp
from amortppl.trust.verdict import MISSED
from amortppl.trust.volume_keeping import volume_keeping_maps

BEYOND = 1.5
"""Times the farthest draw's distance that the region of the draws reaches."""

PRIOR_DRAWS, MIRRORED = 512, 8
"""Draws from the prior, and draws of the answer that are mapped, at most."""

EXPECTED = 5
"""Draws that the mass elsewhere should have had, at least: exact draws have none with a probability
of exp(-5)."""

AGAIN = 8
"""Times as many draws from the prior that are asked once the first have seen mass elsewhere."""

ROWS = 1 << 20
"""Rows times draws from the prior evaluated for a dataset."""

FEWEST = 200
"""Draws of an answer below which their region is too uncertain: of 40 draws of exact answers one in
twenty was flagged, of 1,000 none."""

LEAST = 1e-10
"""Variance for each latent that is added in every direction of the draws' correlations: as many
draws as latents, or fewer, leave some without."""

FEWEST_PRIOR = 32
"""Draws from the prior below which none are worth their time."""

LOOKED = 32
"""Datasets looked at, spread over all; where one of them has mass elsewhere, all are."""


def missed_spread(
    task: AbstractTask,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    log_weights: np.ndarray,
    good: np.ndarray,
) -> np.ndarray:
    """Change of the logarithm of a sd by mass outside the draws' region, of each posterior, (T,).

    0 where none was seen; NaN where nothing was evaluated: no density, few draws, fewer than some
    1.8 for each latent (the ellipsoid of S exact draws leaves others out where S / (S - P - 1) is
    above `BEYOND`^2: of 1,000 draws of 4,005 latents it is flat), draws that are not finite, an
    answer that fails another check, more than `ROWS` / `FEWEST_PRIOR` rows, or datasets beside the
    `LOOKED`.

    Args:
        drawn: draws (T, S, P) with their log joint (T, S).
        log_weights: normalised importance weights, (T, S).
        good: which answers pass all other checks, (T,); others are not looked at.
    """
    missed = np.full(len(datasets), np.nan)
    if not task.has_density or task.local or not task.latents.size or not good.any():
        return missed

    def look(places: np.ndarray) -> None:
        for place in places:
            weights = np.asarray(log_weights[place])
            missed[place] = _of_dataset(task, datasets[place], drawn, weights, int(place))

    places = np.nonzero(good)[0]
    first = places[np.unique(np.linspace(0, len(places) - 1, LOOKED).astype(int))]
    look(first)
    if (missed[first] > MISSED).any():
        look(np.setdiff1d(places, first))
    return missed


def _of_dataset(
    task: AbstractTask, dataset: Dataset, drawn: Drawn, log_weights: np.ndarray, place: int
) -> float:
    vectors = np.asarray(drawn.vectors[place], np.float64)
    joint = np.asarray(drawn.log_joint[place], np.float64)
    if not (np.isfinite(vectors).all() and np.isfinite(joint).any()) or len(vectors) < FEWEST:
        return np.nan
    draws, latents = vectors.shape
    if draws > BEYOND**2 * (draws - latents - 1):
        return np.nan
    batch = pad(task, dataset)
    count = min(PRIOR_DRAWS, ROWS // len(batch.mask))
    count = 1 << count.bit_length() - 1
    return (
        _missed(task, batch, vectors, joint, log_weights, count)
        if count >= FEWEST_PRIOR
        else np.nan
    )


def judge_missed(missed: np.ndarray) -> list[list[str]]:
    """Notes for each of T datasets whose posterior has mass where there are no draws.

    Warns:
        UnreliableWarning: of the first with more than `MISSED`.
    """
    notes: list[list[str]] = [[] for _ in missed]
    wrong = np.nonzero(missed > MISSED)[0]
    for place in wrong:
        fold = float(np.exp(min(missed[place], 20.0)))
        notes[place] = [
            f"NOT RELIABLE, another mode or a far tail: where there are no draws lies probability "
            f"that would make a sd about {fold:.3g} times as large; order the components or fix "
            f"the sign, or sample with many chains"
        ]
    if len(wrong):
        which = f"{len(wrong)} of {len(missed)} datasets: " if len(missed) > 1 else ""
        warnings.warn(which + notes[wrong[0]][0], UnreliableWarning, stacklevel=4)
    return notes


def _missed(
    task: AbstractTask, batch: Any, vectors: np.ndarray, joint: np.ndarray,
    log_weights: np.ndarray, count: int,
) -> float:  # fmt: skip
    region = _Region(vectors)
    if region.singular:
        return np.nan
    evidence = _log_evidence(region, vectors, joint, log_weights)
    traced = _traced(task, 2 * count, len(batch.mask), _shapes(batch))

    def densities(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log likelihoods, and log joints, (2 `count`,)."""
        prior, rows = traced(at.astype(np.float32), batch.data, batch.mask)
        lowest = {"nan": -np.inf, "posinf": -np.inf}
        return np.nan_to_num(rows, **lowest), np.nan_to_num(prior + rows, **lowest)

    prior_draws = _prior_draws(task, 0)[:count]
    mapped, ratio = _mapped(task, vectors, joint, log_weights, count)
    likelihood, log_joint = densities(np.concatenate([prior_draws, mapped]))
    by_maps = region.spread(mapped, log_joint[count:] + ratio, MIRRORED).max()
    by_prior = region.spread(prior_draws, likelihood[:count] - evidence - np.log(count), count)[0]
    if np.log1p(by_prior) / 2 > MISSED >= np.log1p(by_maps) / 2:
        others = [_prior_draws(task, part)[:count] for part in range(1, AGAIN + 1)]
        pairs = [np.concatenate(p) for p in zip(others[::2], others[1::2], strict=True)]
        mass = np.concatenate([densities(p)[0] for p in pairs]) - evidence - np.log(AGAIN * count)
        by_prior = region.spread(np.concatenate(pairs), mass, AGAIN * count)[0]
    return float(np.log1p(max(by_prior, by_maps)) / 2)


class _Region:
    """The ellipsoid (u - mean)' C^-1 (u - mean) <= far^2 about draws (S, P)."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.mean, self.sd = vectors.mean(0), vectors.std(0)
        self.singular = not (self.sd > 0).all()
        if self.singular:
            return
        scaled = (vectors - self.mean) / self.sd
        correlation = scaled.T @ scaled / len(scaled)
        correlation += LEAST * len(correlation) * np.eye(len(correlation))
        # A sixth of the seconds of an eigendecomposition. A product with the inverse, as SciPy's
        # triangular solutions of a few rows wake threads that spin: 20 ms of CPU an answer.
        factor = np.linalg.cholesky(correlation)
        self.whiten = np.linalg.inv(factor).T
        self.log_volume = float(np.log(self.sd).sum() + np.log(np.diag(factor)).sum())
        self.far = BEYOND * float(self.distance(vectors).max())
        self.least = EXPECTED / len(vectors)

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """From the mean, in sds, (S,)."""
        return np.linalg.norm((vectors - self.mean) / self.sd @ self.whiten, axis=1)

    def spread(self, vectors: np.ndarray, log_mass: np.ndarray, together: int) -> np.ndarray:
        """Sums of e d^2 of mass e at vectors outside, over so many of them each; 0 where there is
        too little mass for the draws to show it.
        """
        distance = self.distance(vectors)
        outside = (distance > self.far).reshape(-1, together)
        mass = np.where(outside, np.exp(np.minimum(log_mass, 50.0)).reshape(-1, together), 0.0)
        spread = (mass * distance.reshape(-1, together) ** 2).sum(1)
        return np.where(mass.sum(1) >= self.least, spread, 0.0)


def _log_evidence(
    region: _Region, vectors: np.ndarray, joint: np.ndarray, log_weights: np.ndarray
) -> float:
    """log Z, - log Z = log sum_s w_s f(theta_s) / p(theta_s), f a normal cut at its median."""
    size, distance = vectors.shape[1], region.distance(vectors)
    middle = np.sqrt(2 * gammaincinv(size / 2, 0.5))
    normal = -size / 2 * np.log(2 * np.pi) - region.log_volume - distance**2 / 2
    terms = np.where(distance <= middle, np.log(2.0) + normal - joint + log_weights, -np.inf)
    terms = terms[np.isfinite(terms)]
    return -float(log_sum_exp(terms)[0]) if len(terms) else np.inf


def _mapped(
    task: AbstractTask, vectors: np.ndarray, joint: np.ndarray, log_weights: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """`count` mapped draws, `MIRRORED` of each map, and log w_s / p(theta_s) of each."""
    weights = np.exp(log_weights)
    picked = np.random.default_rng(0).choice(len(weights), MIRRORED, p=weights / weights.sum())
    orders, signs = volume_keeping_maps(task, count // MIRRORED)
    images = (vectors[picked][:, orders] * signs).swapaxes(0, 1).reshape(-1, vectors.shape[1])
    ratio = np.tile(-joint[picked] - np.log(MIRRORED), count // MIRRORED)
    short = count - len(images)
    return np.concatenate([images, np.tile(images[:MIRRORED], (short // MIRRORED, 1))]), ratio


@lru_cache(maxsize=128)
def _prior_draws(task: AbstractTask, part: int) -> np.ndarray:
    """Unconstrained draws from the prior, (`PRIOR_DRAWS`, P), others in each part."""
    rows = (task.rows or (1, 1))[0]
    draw = rewrite(lambda keys: jax.vmap(lambda k: task.simulate(k, rows).latents)(keys))
    keys = split_key(seed_key(11 + part), PRIOR_DRAWS)
    return np.asarray(evaluate(draw, keys), np.float64)


def _shapes(batch: Any) -> tuple:
    return tuple((n, v.shape, v.dtype.name) for n, v in sorted(batch.data.items()))


@lru_cache(maxsize=64)
def _traced(task: AbstractTask, count: int, size: int, shapes: tuple) -> Traced:
    """(Log priors, log likelihoods), each (K,), of K vectors on rows with a mask."""
    data = {n: jax.ShapeDtypeStruct(shape, dtype) for n, shape, dtype in shapes}

    def densities(vector: jax.Array, data: dict, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        prior, rows = task.log_densities(vector, data)
        return prior, jnp.sum(jnp.where(mask, rows, 0.0))

    vectors = jax.ShapeDtypeStruct((count, task.latents.size), jnp.float32)
    mask = jax.ShapeDtypeStruct((size,), bool)
    together = jax.vmap(densities, (0, None, None))
    return Traced(together, vectors, data, mask)
