"""Draws of hurdle counts follow their own probabilities."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from amortppl.formula.hurdle import HurdleNegativeBinomial2, HurdlePoisson

MANY = 20_000


@pytest.mark.parametrize(
    "hurdle",
    [
        HurdlePoisson(0.3, 1e-3),
        HurdlePoisson(0.3, 2.5),
        HurdleNegativeBinomial2(0.2, 3.0, 0.7),
        HurdleNegativeBinomial2(0.2, 0.01, 5.0),
    ],
    ids=["rare", "poisson", "wide", "rare wide"],
)
def test_draws_follow_the_probabilities(hurdle):
    """Chi-squared over counts, the rare ones pooled: a correct program fails 5 in 10,000 times."""
    draws = np.asarray(jax.jit(lambda k: hurdle.sample(k, (MANY,)))(jr.key(0)))
    values = np.arange(60)
    p = np.exp(np.asarray(jax.vmap(hurdle.log_prob)(jnp.asarray(values)), np.float64))
    np.testing.assert_allclose(p.sum(), 1.0, atol=2e-3)
    seen = np.bincount(np.minimum(draws, 59), minlength=60)
    kept = p * MANY >= 5
    expected = np.append(p[kept], max(1 - p[kept].sum(), 1e-12)) * MANY
    observed = np.append(seen[kept], seen[~kept].sum())
    if expected[-1] < 5:
        expected, observed = (np.append(a[:-2], a[-2:].sum()) for a in (expected, observed))
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4
