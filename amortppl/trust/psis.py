"""Pareto-smoothed importance sampling: does the guide cover the posterior of this dataset?

Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72).
"""

from typing import NamedTuple

import numpy as np

GOOD, USABLE = 0.5, 0.7
"""k-hat below which importance weights have finite variance, and up to which PSIS is reliable."""


class Check(NamedTuple):
    """k-hat (T,), smoothed normalised log weights (T, S), and importance sample size (T,)."""

    khat: np.ndarray
    log_weights: np.ndarray
    sample_size: np.ndarray


def check(log_joint: np.ndarray, log_guide: np.ndarray) -> Check:
    """PSIS of draws from a guide against the model's own log joint.

    Args:
        log_joint: log p(theta_s, D), shape (T, S).
        log_guide: log q(theta_s | D), shape (T, S).
    """
    from arviz_stats.base import array_stats

    ratios = np.asarray(log_joint, np.float64) - np.asarray(log_guide, np.float64)
    ratios = np.nan_to_num(ratios, nan=-np.inf, posinf=-np.inf)
    peak = np.max(ratios, -1, keepdims=True)
    ratios = np.maximum(ratios - np.where(np.isfinite(peak), peak, 0.0), -500.0)
    weights, khat = array_stats.psislw(ratios, axis=-1)
    weights = weights - np.logaddexp.reduce(weights, -1, keepdims=True)
    return Check(np.asarray(khat), weights, np.exp(-np.logaddexp.reduce(2 * weights, -1)))


def verdict(khat: float) -> str:
    """What k-hat says, in words."""
    if not np.isfinite(khat):
        return "not checked: importance weights are degenerate; do not use this posterior"
    if khat < GOOD:
        return "good: the guide covers the posterior"
    if khat < USABLE:
        return "usable: use the importance weights for careful work"
    return "not reliable: the guide misses part of the posterior; run NUTS started from this guide"
