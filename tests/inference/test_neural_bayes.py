"""Neural Bayes estimators: quantiles become a distribution, and are the exact posterior's."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from amortppl.inference.neural_bayes import Marginals, NeuralBayes, rising
from scipy import stats

import amortppl as ap
from amortppl.task.scaling import PriorScale
from conjugate import mean_model, mean_posterior

LEVELS = jnp.array(NeuralBayes().levels)
SCALE = PriorScale(jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0]))


def test_numbers_rise():
    values = np.asarray(rising(jr.normal(jr.key(0), (17,)) * 5))
    assert (np.diff(values) > 0).all()


def test_a_distribution_of_quantiles_has_these():
    """Of 20,000 draws; 4 sds of a share of 0.5 are 0.014."""
    quantiles = jax.vmap(rising)(0.5 * jr.normal(jr.key(1), (2, 17)))
    made = Marginals(SCALE, LEVELS, quantiles)
    draws, log_density = made.sample(jr.key(3), 20_000)
    at = SCALE.restore(quantiles.T)
    below = np.asarray(draws)[:, None] < np.asarray(at)[None]
    np.testing.assert_allclose(below.mean(0), np.tile(LEVELS, (2, 1)).T, atol=0.015)
    np.testing.assert_allclose(log_density[:5], jax.vmap(made.log_prob)(draws[:5]), rtol=1e-5)
    # the density integrates to one, tails included
    grid = np.linspace(-60, 60, 400_001)
    one = Marginals(PriorScale(jnp.zeros(1), jnp.ones(1)), LEVELS, quantiles[:1])
    density = np.exp(np.asarray(jax.vmap(lambda v: one.log_prob(v[None]))(jnp.asarray(grid))))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=2e-3)


def test_levels_must_rise_about_the_middle():
    for levels in [(0.5,), (0.1, 0.9), (0.9, 0.5, 0.1), (0.0, 0.5, 1.0)]:
        with pytest.raises(LookupError, match=r"0\.5 in the middle"):
            ap.method("neural_bayes", levels=levels)


@pytest.mark.slow
def test_quantiles_are_those_of_the_exact_posterior():
    """Seeded; medians over 60 datasets of errors in posterior sds."""
    task = ap.Task(mean_model, rows=(4, 16), likelihood=False)
    guide = ap.train(task, "neural_bayes", steps=2000, batch=64, progress=False)
    rng = np.random.default_rng(1)
    data = [{"y": rng.normal(rng.normal(0, 2), 1, n)} for n in np.tile([4, 8, 16], 20)]
    draws = guide.infer(data, draws=2000)["posterior"]["mu"].values.reshape(60, -1)
    exact = np.array([mean_posterior(d["y"]) for d in data])
    for level in (0.05, 0.5, 0.95):
        wanted = exact[:, 0] + exact[:, 1] * stats.norm.ppf(level)
        miss = np.abs(np.quantile(draws, level, 1) - wanted) / exact[:, 1]
        assert np.median(miss) < 0.2
