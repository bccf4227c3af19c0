"""Draws of hurdle counts follow their own probabilities; censored times have closed forms."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from amortppl.formula.censored import NO_LIMIT, CensoredAbove
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


@pytest.mark.parametrize(
    ("base", "truth"),
    [
        (dist.Weibull(2.0, 1.7), stats.weibull_min(1.7, scale=2.0)),
        (dist.Exponential(0.7), stats.expon(scale=1 / 0.7)),
    ],
)
def test_censored_times_have_scipys_densities(base, truth):
    """Far out too, where 1 - cdf has no digits in 32 bits; and draws stop at their limit."""
    values = np.array([0.1, 1.0, 5.0, 20.0])
    limits = np.array([NO_LIMIT, 1.0, NO_LIMIT, 20.0])
    expected = np.where(values == limits, truth.logsf(values), truth.logpdf(values))
    density = CensoredAbove(base, jnp.asarray(limits, jnp.float32)).log_prob(jnp.asarray(values))
    np.testing.assert_allclose(density, expected, rtol=1e-5)
    draws = CensoredAbove(base, 1.0).sample(jr.key(0), (MANY,))
    share, beyond = float(jnp.mean(draws == 1.0)), truth.sf(1.0)
    assert abs(share - beyond) < 5 * np.sqrt(beyond * (1 - beyond) / MANY)  # once in 10^6
