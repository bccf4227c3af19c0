"""Integrals over a row's few numbers, and draws of them, against densities with a closed form."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from amortppl.posterior.grid_draws import on_grid
from amortppl.posterior.local_draws import resample
from amortppl.task.quadrature import find_modes, integral, whitener


@pytest.mark.parametrize(("size", "tolerance"), [(1, 1e-5), (2, 1e-5), (3, 1e-4), (4, 0.06)])
def test_integrals_that_are_not_gaussian(size, tolerance):
    """Logistic times normal, of one number in disguise: askew of all axes. log 1/2 by symmetry."""
    direction = np.arange(1, size + 1) / np.linalg.norm(np.arange(1, size + 1))
    slope = jnp.array([0.75, 1.5, 3.0])

    def rows(u):
        seen = u @ direction
        return (
            -jax.nn.softplus(-slope * seen)
            - jnp.sum(u * u, -1) / 2
            - size / 2 * jnp.log(2 * jnp.pi)
        )

    start = jnp.zeros((3, size))
    value = jax.jit(lambda: integral(rows, find_modes(rows, start)))()
    np.testing.assert_allclose(value, np.log(0.5), atol=tolerance)


def test_whitener_inverts_the_factor():
    factor = np.tril(np.random.default_rng(0).standard_normal((6, 4, 4))) + 3 * np.eye(4)
    inverse = whitener(jnp.asarray(factor @ factor.mT, jnp.float32))
    np.testing.assert_allclose(inverse @ factor, np.broadcast_to(np.eye(4), (6, 4, 4)), atol=1e-4)


def normal_pair(u):
    """Three rows of correlated normals, the same up to scale, with mean 1."""
    z = (u - 1) / jnp.array([0.1, 1.0, 10.0])[:, None]
    return -(z[:, 0] ** 2 - 1.6 * z[:, 0] * z[:, 1] + z[:, 1] ** 2) / (2 * 0.36)


@pytest.mark.slow
def test_resampled_draws_have_their_moments():
    """2000 draws: mean within 5 sds of its error, covariance within 10% (5 sds are 16% for a sample
    of independent).
    """
    near = find_modes(normal_pair, jnp.zeros((3, 2)))
    drawn = jax.jit(jax.vmap(lambda k: resample(normal_pair, near, k)))(jr.split(jr.key(0), 2000))
    z = (np.asarray(drawn) - 1) / np.array([0.1, 1.0, 10.0])[:, None]
    np.testing.assert_allclose(z.mean(0), 0, atol=5 / 2000**0.5)
    for row in range(3):
        np.testing.assert_allclose(np.cov(z[:, row].T), [[1, 0.8], [0.8, 1]], atol=0.16)


def test_grid_draws_of_a_skewed_density():
    """log of a Gamma(2): Kolmogorov-Smirnov; a correct program fails one seed in 10^4."""

    def rows(u):
        return 2 * u[:, 0] - jnp.exp(u[:, 0])

    near = find_modes(rows, jnp.zeros((4000, 1)))
    drawn = np.asarray(jax.jit(lambda k: on_grid(rows, near, k))(jr.key(0)))[:, 0]
    assert stats.kstest(np.exp(drawn.astype(float)), stats.gamma(2).cdf).pvalue > 1e-4
