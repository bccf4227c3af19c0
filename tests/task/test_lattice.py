"""Integrals on a moving lattice, against closed forms and dense sums."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from amortppl.task.lattice import add_errors, integrate, total_error


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gaussians_of_any_place_and_size(size):
    """Integrals of 20 densities are 1; centres up to 1,000 sds off, sds from 0.01 to 30."""
    rng, rows = np.random.default_rng(0), 20
    mean = rng.normal(size=(rows, size)) * np.geomspace(1e-3, 1e3, rows)[:, None]
    root = rng.normal(size=(rows, size, size)) * np.geomspace(30, 0.01, rows)[:, None, None]
    cover = root @ np.swapaxes(root, 1, 2) + 1e-4 * np.eye(size)
    bend, volume = np.linalg.inv(cover), np.linalg.slogdet(2 * np.pi * cover)[1]

    def heights(u):
        off = u - mean
        return -0.5 * (np.einsum("sri,rij,srj->sr", off, bend, off) + volume)

    integral = integrate(heights, rows, size)
    assert np.abs(integral.value).max() < 1e-6
    assert integral.error.max() < 2e-3


def test_counts_with_wide_effects():
    """Poisson counts from 0 to 5,000 with effects of sd 3, against 400,001 points."""
    counts, rate = np.array([0, 0, 1, 3, 100, 5000.0]), np.array([-3, 2, 0, 1, 0, 0.0])

    def heights(u):
        at = u[..., 0]
        return stats.norm(0, 3).logpdf(at) + stats.poisson(np.exp(rate + at)).logpmf(counts)

    line = np.linspace(-40, 40, 400_001)[:, None, None] * np.ones((6, 1))
    truth = logsumexp(heights(line), 0) + np.log(80 / 400_000)
    integral = integrate(heights, 6, 1)
    assert np.abs(integral.value - truth).max() < 1e-8
    assert integral.error.max() < 1e-5


def test_two_modes_and_long_tails_within_the_error():
    """Modes 32 sds apart are both seen; of a Cauchy density the tails are in the error."""

    def two(u):
        return np.logaddexp(*(stats.norm(c, 0.5).logpdf(u[..., 0]) for c in (-8, 8)))

    assert integrate(two, 1, 1).value[0] == pytest.approx(np.log(2), abs=1e-6)
    integral = integrate(lambda u: stats.cauchy.logpdf(u[..., 0]), 1, 1)
    assert abs(integral.value[0]) < integral.error[0] < 0.02


def test_five_numbers_by_an_importance_sum():
    """200 correlated Gaussians: the sum within its error of four standard errors."""
    rng = np.random.default_rng(1)
    root = rng.normal(size=(200, 5, 5)) + 2 * np.eye(5)
    cover = root @ np.swapaxes(root, 1, 2)
    bend, volume = np.linalg.inv(cover), np.linalg.slogdet(2 * np.pi * cover)[1]
    integral = integrate(
        lambda u: -0.5 * (np.einsum("sri,rij,srj->sr", u, bend, u) + volume), 200, 5
    )
    assert abs(integral.value.sum()) < total_error(add_errors(integral.error, 5), 5) < 10
