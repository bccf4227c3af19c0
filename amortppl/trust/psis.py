"""Pareto-smoothed importance sampling: does the guide cover the posterior of this dataset?

Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72).
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from threading import Thread
from typing import NamedTuple

import numpy as np

from amortppl.errors import GuideError

GOOD, USABLE = 0.5, 0.7
"""k-hat below which importance weights have finite variance, and up to which PSIS is reliable."""

FLOOR = -500.0
"""Log weights below this, relative to the largest, are equal to it: they weigh nothing."""

NOISE = 0.1
"""Deviation of log weights below which (importance sample size above 99% of the draws) the guide is
the posterior for all purposes; the tail is then rounding of log densities, and k-hat at most 0."""

SHIFTED, SPREAD = 0.3, float(np.log(2.0))
"""Change by weights of a mean, in sds, and of the logarithm of a sd, beyond which draws as they are
mislead.
"""


class Check(NamedTuple):
    """k-hat (T,), smoothed normalised log weights (T, S), and importance sample size (T,)."""

    khat: np.ndarray
    log_weights: np.ndarray
    sample_size: np.ndarray


def check(log_joint: np.ndarray, log_guide: np.ndarray) -> Check:
    """PSIS of draws from a guide against the model's own log joint.

    Args:
        log_joint: log p(theta_s, D), shape (T, S); NaN for a model without a likelihood, and
            then k-hat is NaN.
        log_guide: log q(theta_s | D), shape (T, S).

    Raises:
        GuideError: Python runs without docstrings.
    """
    if sys.flags.optimize > 1:
        raise GuideError(
            "infer: Python runs with -OO (PYTHONOPTIMIZE=2), which drops docstrings that ArviZ's "
            "statistics need; use -O, or neither"
        )
    ratios = np.asarray(log_joint, np.float64) - np.asarray(log_guide, np.float64)
    if np.isnan(log_joint).all():
        level = np.full(ratios.shape, -np.log(ratios.shape[-1]))
        return Check(np.full(ratios.shape[:-1], np.nan), level, np.full(ratios.shape[:-1], np.nan))
    ratios = np.nan_to_num(ratios, nan=-np.inf, posinf=-np.inf, neginf=-np.inf)
    peak = np.max(ratios, -1, keepdims=True)
    ratios = np.maximum(ratios - np.where(np.isfinite(peak), peak, 0.0), FLOOR)
    smoothed = [_smooth(each) for each in ratios.reshape(-1, ratios.shape[-1])]
    weights = np.reshape([w for w, _ in smoothed], ratios.shape)
    khat = np.reshape([k for _, k in smoothed], ratios.shape[:-1])
    weights = weights - np.logaddexp.reduce(weights, -1, keepdims=True)
    return Check(khat, weights, np.exp(-np.logaddexp.reduce(2 * weights, -1)))


class MomentShift(NamedTuple):
    """Of T datasets the largest change by importance weights of a latent's mean, in sds, and of the
    logarithm of a sd,
    on the unconstrained scale, (T,); NaN without weights. And which latent's sd that is, (T,).

    A few draws far out hardly weigh: k-hat, which looks at the largest weights, does not see them,
    plain sds do.
    """

    mean: np.ndarray
    sd: np.ndarray
    latent: np.ndarray


def moment_shifts(vectors: Sequence[np.ndarray], result: Check) -> MomentShift:
    """What weights change of the moments of draws (T, S, P)."""
    each = [
        moment_shift(np.asarray(v, np.float64), w)
        for v, w in zip(vectors, result.log_weights, strict=True)
    ]
    has_khat = ~np.isnan(result.khat)
    shift, scale = (np.where(has_khat, [np.abs(e[i]).max() for e in each], np.nan) for i in (0, 1))
    return MomentShift(shift, scale, np.array([np.abs(e[1]).argmax() for e in each]))


def moment_shift(vectors: np.ndarray, log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change by weights of each mean (P,), in sds, and of the logarithm of each sd (P,), of draws
    (S, P).
    """
    weights = np.exp(log_weights)
    with np.errstate(all="ignore"):  # of draws that are not finite
        mean, sd = vectors.mean(0), vectors.std(0) + 1e-12
        centre = weights @ vectors
        spread = np.sqrt(weights @ (vectors - centre) ** 2) + 1e-12
        return (centre - mean) / sd, np.log(spread / sd)


def misleading_notes(result: Check, moved: MomentShift, labels: Sequence[str]) -> list[list[str]]:
    """A note for each dataset whose draws mislead as they are, where their weights can be relied
    on.
    """
    template = (
        "plain draws mislead: weights change the sd of {} {:.3g}-fold, a mean by {:.2g} sds; use "
        "`log_weight`, or "
        "trust='ladder'"
    )
    return [
        [template.format(labels[latent], np.exp(sd), mean)] if _misleads(khat, mean, sd) else []
        for khat, mean, sd, latent in zip(result.khat, *moved, strict=True)
    ]


def _misleads(khat: float, mean_moved: float, sd_moved: float) -> bool:
    return bool(khat < USABLE and (mean_moved > SHIFTED or sd_moved > SPREAD))


def import_in_background() -> None:
    """Imports ArviZ's statistics in a thread, to be there once draws are: JAX compiles for
    longer.
    """
    Thread(target=import_module, args=("arviz_stats.base",)).start()


def _smooth(ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed log weights and k-hat of one dataset; k-hat is infinite when a few draws hold all
    weight.
    """
    from arviz_stats.base import array_stats

    if np.sum(ratios > FLOOR / 2) < 5:
        return ratios, np.inf
    if np.ptp(ratios) < 1e-8:
        return ratios, 0.0
    is_flat = bool(np.std(ratios) < NOISE)
    try:
        with np.errstate(over="ignore"):
            # ArviZ takes log likelihoods and negates them.
            weights, khat = array_stats.psislw(-ratios)
    except ValueError:
        # All weights of the tail are the same: rounding, or the few draws that have any.
        return ratios, 0.0 if is_flat else np.inf
    if np.isnan(khat):
        # The tail has a few distinct weights: rounding, or nearly all draws lie at the floor, which
        # no Pareto tail fits.
        return ratios, 0.0 if is_flat else np.inf
    return np.asarray(weights), min(float(khat), 0.0) if is_flat else float(khat)


def verdict(khat: float, mean_moved: float = np.nan, sd_moved: float = np.nan) -> str:
    """The verdict of k-hat, and of how far weights move means and sds (NaN where that is not
    known), in words.
    """
    if np.isnan(khat):
        return "not checked: no k-hat was computed, the warnings say why"
    if _misleads(khat, mean_moved, sd_moved):
        return "usable by importance weights only: plain draws mislead"
    if khat < GOOD:
        return "good: the guide covers the posterior"
    if khat < USABLE:
        return "usable: use the importance weights for careful work"
    return "not reliable: the guide misses part of the posterior; run NUTS started from this guide"
