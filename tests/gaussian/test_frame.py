"""Frames against cases whose answer is known."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.scipy.stats import norm

from amortppl.gaussian.cubature import averages, variational_frame, whitened_gradients
from amortppl.gaussian.frame import Frame, cholesky_of, clipped_eigh
from amortppl.gaussian.newton import newton_mode, outer_products

MEAN = jnp.array([1.0, -2.0, 0.5])
PRECISION = jnp.array([[4.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])


def gaussian(u):
    return -0.5 * (u - MEAN) @ PRECISION @ (u - MEAN)


def skewed(u):
    """log density of log Gamma(3, 1): exp(3 u - e^u)."""
    return 3.0 * u[0] - jnp.exp(u[0])


@pytest.fixture(scope="module")
def frame():
    return Frame(MEAN, jnp.linalg.cholesky(PRECISION))


def test_whitening_inverts(frame):
    z = jr.normal(jr.key(0), (5, 3))
    np.testing.assert_allclose(jax.vmap(frame.whiten)(frame.unwhiten(z)), z, atol=1e-5)


def test_log_scale_is_the_change_of_variables(frame):
    u = jnp.array([0.3, 0.1, -1.0])
    direct = gaussian(u) + 0.5 * jnp.linalg.slogdet(PRECISION)[1] - 1.5 * jnp.log(2 * jnp.pi)
    np.testing.assert_allclose(
        norm.logpdf(frame.whiten(u)).sum() + frame.log_scale(), direct, rtol=1e-5
    )


def test_climb_finds_a_gaussian(frame):
    mode = jax.jit(lambda start: newton_mode(gaussian, start, None, 8))(jnp.zeros(3))
    np.testing.assert_allclose(mode.location, MEAN, atol=1e-4)
    np.testing.assert_allclose(mode.factor, frame.factor, atol=1e-4)


def test_climb_survives_a_bad_start():
    """From far out on exp, where an undamped step overflows."""
    mode = newton_mode(skewed, jnp.array([12.0]), None, 40)
    np.testing.assert_allclose(mode.location, jnp.log(3.0), atol=1e-2)


def test_climb_begins_with_few_rows_and_at_the_highest_start(frame):
    """A Gaussian is climbed in one step: from one look at few rows to their mode, from the next to
    that of all.
    """
    few_mean, starts = MEAN + 1.0, jnp.stack([jnp.zeros(3), 0.5 * MEAN])
    f = lambda u, few=False: gaussian(u - jnp.where(few, 1.0, 0.0))  # noqa: E731
    for order in (starts, starts[::-1]):
        np.testing.assert_allclose(
            newton_mode(f, order, None, 2, few=2).location, few_mean, atol=1e-3
        )
    np.testing.assert_allclose(newton_mode(f, starts, None, 3, few=1).location, MEAN, atol=1e-3)
    higher = starts[jnp.argmax(jax.vmap(gaussian)(starts))]
    np.testing.assert_array_equal(newton_mode(f, starts, None, 1).location, higher)


def test_nothing_is_left_of_a_gaussian(frame):
    settled, left = variational_frame(gaussian, frame, 2)
    np.testing.assert_allclose(left, 0.0, atol=1e-4)
    np.testing.assert_allclose(settled.location, frame.location, atol=1e-4)
    np.testing.assert_allclose(settled.factor, frame.factor, atol=1e-3)


def test_settle_finds_a_gaussian_from_a_wrong_frame(frame):
    wrong = Frame(MEAN + 0.3, 1.3 * frame.factor)
    settled, left = variational_frame(gaussian, wrong, 6)
    np.testing.assert_allclose(left, 0.0, atol=1e-3)
    np.testing.assert_allclose(settled.factor, frame.factor, atol=1e-3)


def test_settle_on_a_skewed_density():
    """The stationary frame has E grad f = 0 and -E f'' = precision: for this f both integrals are
    closed, m = log 3 - v / 2 and 1 / v = 3. Cubature of the third degree is within 3% of it."""
    settled, _ = variational_frame(skewed, newton_mode(skewed, jnp.zeros(1), None, 10), 10)
    np.testing.assert_allclose(settled.location[0], np.log(3.0) - 1 / 6, atol=0.02)
    np.testing.assert_allclose(settled.factor[0, 0] ** 2, 3.0, rtol=0.03)


def test_settling_beats_the_mode():
    """Mean and sd of log Gamma(3, 1) by numerical integration."""
    grid = np.linspace(-12, 6, 200_001)
    weight = np.exp(3 * grid - np.exp(grid))
    weight /= weight.sum()
    mean = weight @ grid
    sd = np.sqrt(weight @ (grid - mean) ** 2)
    mode = newton_mode(skewed, jnp.zeros(1), None, 10)
    settled, _ = variational_frame(skewed, mode, 3)
    assert abs(settled.location[0] - mean) < 0.1 * sd < abs(mode.location[0] - mean)


def test_averages_are_gaussian_moments(frame):
    """A cubic's averages over a frame, in closed form (Stein): exact for third-degree points."""
    cubic = lambda u: (u[0] - MEAN[0]) ** 3 + u[1]  # noqa: E731
    unit = Frame(MEAN, jnp.eye(3))
    slope, bend = averages(whitened_gradients(cubic, unit))
    np.testing.assert_allclose(slope, [3.0, 1.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(bend, jnp.zeros((3, 3)), atol=1e-4)


@pytest.mark.parametrize("span", [1e2, 1e7, 1e12])
def test_cholesky_of_eigenvalues_that_span_decades(span):
    """Against the factor in float64, column by column relative to its own length."""
    values = np.geomspace(1.0, span, 5)
    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    exact = np.linalg.qr(np.sqrt(values)[:, None] * vectors.T)[1].T
    exact = exact * np.sign(np.diag(exact))
    factor = np.asarray(
        cholesky_of(jnp.asarray(values, jnp.float32), jnp.asarray(vectors, jnp.float32))
    )
    assert np.isfinite(factor).all() and np.all(np.diag(factor) > 0)
    np.testing.assert_array_equal(factor, np.tril(factor))
    np.testing.assert_allclose(
        factor @ factor.T / span, (vectors * values) @ vectors.T / span, atol=1e-6
    )
    np.testing.assert_allclose(factor[:, 0] / exact[0, 0], exact[:, 0] / exact[0, 0], atol=1e-5)
    np.testing.assert_allclose(
        np.log(np.diag(factor)).sum(), np.log(values).sum() / 2, atol=0.01 * np.log(span)
    )


def test_clamped_eigenvalues():
    values, _ = clipped_eigh(jnp.diag(jnp.array([-2.0, 1e-9, 9.0])), 0.1, 5.0)
    np.testing.assert_allclose(np.sort(values), [0.1, 2.0, 5.0], rtol=1e-6)


def test_outer_products_estimate_the_curvature():
    """5,000 rows of N(mu, 1) at the true mu: sd of the estimate is sqrt(2 N); 5 of them bound
    it.
    """
    y = jr.normal(jr.key(1), (5000,))
    curvature = outer_products(lambda at: norm.logpdf(y, at[0], 1), jnp.zeros(1))
    assert abs(curvature[0, 0] - 5000) < 5 * (2 * 5000) ** 0.5
