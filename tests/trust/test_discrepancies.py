"""Posterior predictive discrepancies of counts, with draws from the exact posterior."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.task.batch import Batch
from amortppl.trust.discrepancies import Moments, discrepancies, names

ROWS, DRAWS, SETS = 100, 50, 30


def counts(n, y=None):
    rate = numpyro.sample("rate", dist.Gamma(1.0, 1.0))
    with numpyro.plate("rows", n):
        numpyro.sample("y", dist.Poisson(rate), obs=y)


@pytest.fixture(scope="module")
def values_of():
    """Their values by name, of datasets (T, N): the posterior is Gamma(1 + sum y, 1 + N)."""
    task = ap.Task(counts, rows=(8, ROWS))
    none = Moments(np.zeros(0), np.ones(0))

    @jax.jit
    def one(y, key):
        draws = jr.gamma(key, 1.0 + jnp.sum(y), (DRAWS,)) / (1.0 + ROWS)
        keys = jr.split(jr.fold_in(key, 1), DRAWS)
        batch = Batch({"y": y}, jnp.ones(ROWS, bool))
        return discrepancies(task, jnp.log(draws)[:, None], batch, keys, none)

    def all_of(y):
        values = jax.vmap(one)(jnp.asarray(y, jnp.int32), jr.split(jr.key(0), len(y)))
        return dict(zip(names(task), np.asarray(values).T, strict=True))

    return all_of


def test_a_rare_event_is_no_contradiction(values_of):
    """One in a hundred rows, which all predictions of its row may miss: each z is of order one.
    Only the draws are
    random, by a fixed key: no false alarms. The largest of 210 is 1.3.
    """
    rare = np.zeros((SETS, ROWS))
    rare[np.arange(SETS), np.arange(SETS)] = 1
    for name, values in values_of(rare).items():
        assert np.abs(values).max() < 3, name


def test_no_more_than_the_draws_can_tell(values_of):
    """Even where every prediction is zero."""
    strange = np.zeros((1, ROWS))
    strange[0, 0] = 1000
    for name, values in values_of(strange).items():
        assert np.abs(values).max() <= np.sqrt(DRAWS) + 1e-3, name


def test_overdispersed_counts_are_too_spread(values_of):
    """Variance 4 for a mean of 2, where 100 rows know it to a seventh: 7 sds; of 30 clean datasets
    |z| stays below 5
    (of a standard normal, false alarms 2e-5)."""
    rng = np.random.default_rng(0)
    clean = rng.poisson(2.0, (SETS, ROWS))
    wide = rng.poisson(2.0 * rng.gamma(2.0, 0.5, (SETS, ROWS)))
    assert np.abs(values_of(clean)["y: spread"]).max() < 5
    assert np.median(values_of(wide)["y: spread"]) > 3
