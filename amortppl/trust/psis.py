"""Pareto-smoothed importance sampling: does the guide cover the posterior of this dataset?

Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72).
"""

from importlib import import_module
from threading import Thread
from typing import NamedTuple

import numpy as np

GOOD, USABLE = 0.5, 0.7
"""k-hat below which importance weights have finite variance, and up to which PSIS is reliable."""

FLOOR = -500.0
"""Log weights below this, relative to the largest, are equal to it: they weigh nothing."""

NOISE = 0.1
"""Deviation of log weights below which (importance sample size above 99% of the draws) the guide is
the posterior for all purposes; the tail is then rounding of log densities, and k-hat at most 0."""


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
    """
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


def import_beside() -> None:
    """Imports ArviZ's statistics in a thread, to be there once draws are: JAX compiles for longer."""
    Thread(target=import_module, args=("arviz_stats.base",)).start()


def _smooth(ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed log weights and k-hat of one dataset; k-hat is infinite when a few draws hold all weight."""
    from arviz_stats.base import array_stats

    if np.sum(ratios > FLOOR / 2) < 5:
        return ratios, np.inf
    if np.ptp(ratios) < 1e-8:
        return ratios, 0.0
    try:
        with np.errstate(over="ignore"):
            weights, khat = array_stats.psislw(-ratios)  # ArviZ takes log likelihoods and negates them
    except ValueError:  # all weights of the tail are the same: rounding, or the few draws that have any
        return ratios, 0.0 if np.std(ratios) < NOISE else np.inf
    if np.isnan(khat):  # no Pareto tail is so heavy: nearly all draws lie at the floor, and weights would be NaN
        return ratios, np.inf
    if np.std(ratios) < NOISE:
        khat = min(float(khat), 0.0)
    return np.asarray(weights), float(khat)


def verdict(khat: float) -> str:
    """What k-hat says, in words."""
    if np.isnan(khat):
        return "not checked: no k-hat was computed, the warnings say why"
    if khat < GOOD:
        return "good: the guide covers the posterior"
    if khat < USABLE:
        return "usable: use the importance weights for careful work"
    return "not reliable: the guide misses part of the posterior; run NUTS started from this guide"
