"""The mixture that follows the marginal of scales."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from amortppl.gaussian.frame import Frame
from amortppl.gaussian.scale_mixture import explore

BEGIN = Frame(jnp.zeros(2), jnp.eye(2))


def log_scale_and_slope(h):
    """The logarithm of a half-normal scale, whose left tail is exponential, and a number that moves
    with it.
    """
    return h[0] - 0.5 * jnp.exp(2 * h[0]) - 2.0 * (h[1] - 0.5 * h[0]) ** 2


@pytest.fixture(scope="module")
def mixture():
    return jax.jit(lambda: explore(log_scale_and_slope, BEGIN, 512))()


@pytest.fixture(scope="module")
def grid():
    """Points 0.1 apart, (K, 2)."""
    along = np.arange(-14.0, 6.0, 0.1)
    return np.stack(np.meshgrid(along, along, indexing="ij"), -1).reshape(-1, 2)


@pytest.fixture(scope="module")
def density(mixture, grid):
    parts = np.array_split(grid.astype(np.float32), 8)
    log_prob = jax.jit(mixture.log_prob)
    return np.concatenate([np.exp(np.asarray(log_prob(p), float)) for p in parts]) * 0.1**2


def test_the_density_has_an_integral_of_one(density):
    assert density.sum() == pytest.approx(1.0, abs=2e-3)


def test_draws_have_the_density_s_moments_and_say_its_height(mixture, grid, density):
    """20,000 draws: standard errors of 0.007 sds; four of them, two means and two sds."""
    draws, log_prob = mixture.sample(jr.key(0), 20_000)
    mean = density @ grid
    sd = np.sqrt(density @ (grid - mean) ** 2)
    assert np.abs((np.asarray(draws).mean(0) - mean) / sd).max() < 0.03
    assert np.abs(np.asarray(draws).std(0) / sd - 1).max() < 0.05
    np.testing.assert_allclose(log_prob[:50], mixture.log_prob(draws[:50]), rtol=1e-4)


def test_weights_are_even_in_the_long_tail_and_give_the_exact_moments(mixture, grid):
    """Beside quadrature; 20,000 draws, worth more than 15,000."""
    draws, log_prob = mixture.sample(jr.key(1), 20_000)
    ratio = np.asarray(jax.vmap(log_scale_and_slope)(draws) - log_prob, float)
    weights = np.exp(ratio - ratio.max())
    assert weights.sum() ** 2 / (weights**2).sum() > 0.75 * len(weights)
    assert weights.max() < 30 * weights.mean()
    scale = grid[:, 0]
    exact = scale - 0.5 * np.exp(2 * scale) - 2.0 * (grid[:, 1] - 0.5 * scale) ** 2
    exact = np.exp(exact - exact.max())
    exact /= exact.sum()
    mean = exact @ grid
    sd = np.sqrt(exact @ (grid - mean) ** 2)
    found = weights / weights.sum() @ np.asarray(draws, float)
    assert np.abs((found - mean) / sd).max() < 0.04


def test_a_density_that_is_nowhere_finite_is_no_number_but_breaks_nothing():
    draws, log_prob = explore(lambda h: jnp.nan * h[0], BEGIN, 512).sample(jr.key(0), 8)
    assert np.isfinite(draws).all() and np.isfinite(log_prob).all()
