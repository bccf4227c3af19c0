"""Pareto smoothing of many datasets at once against ArviZ's of one."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from amortppl.trust.pareto import smooth_tails

KINDS = {
    "near the posterior": lambda normal: 0.3 * normal,
    "off": lambda normal: normal,
    "far off": lambda normal: 5.0 * normal,
    "Student": lambda normal: normal / np.sqrt(0.1 + normal[:, ::-1] ** 2),
    "ties": np.round,
    "one value": np.zeros_like,
}


def of_arviz(ratios):
    """Smoothed, normalised log weights and k-hat of one dataset; NaN where it refuses."""
    try:
        return array_stats.psislw(-ratios)
    except ValueError:
        return None, np.nan


@pytest.mark.parametrize("draws", [20, 25, 100, 226, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_arviz_up_to_rounding(kind, draws):
    ratios = KINDS[kind](np.random.default_rng(1).standard_normal((70, draws)))
    weights, khat = smooth_tails(ratios)
    weights -= np.logaddexp.reduce(weights, 1, keepdims=True)
    for own, k, each in zip(weights, khat, ratios, strict=True):
        theirs, theirs_k = of_arviz(each)
        np.testing.assert_allclose(k, theirs_k, rtol=1e-9, atol=1e-11)
        if np.isfinite(theirs_k):
            np.testing.assert_allclose(own, theirs, rtol=1e-9, atol=1e-11)
