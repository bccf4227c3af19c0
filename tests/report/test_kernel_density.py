"""Densities of figures, against ArviZ's."""

import numpy as np
import pytest

from amortppl.report.kernel_density import kernel_density


@pytest.mark.parametrize("kind", ["normal", "exponential", "two", "few"])
def test_heights_are_arviz(kind):
    """Within 4% of the peak: both take grids of their own for the width."""
    from arviz_stats.base.array import array_stats

    random = np.random.default_rng(0)
    draws = {
        "normal": random.normal(1e3, 2.0, 1000),
        "exponential": random.exponential(size=1000),
        "two": np.concatenate([random.normal(size=500), random.normal(8, 0.5, 500)]),
        "few": random.normal(size=30),
    }[kind]
    at, height, _ = array_stats.kde(draws, grid_len=220)
    grid, ours = kernel_density(draws)
    assert np.abs(np.interp(grid, at, height) - ours).max() < 0.04 * height.max()


def test_what_has_no_density():
    assert kernel_density(np.full(5, 2.0))[1].tolist() == [0.0, 1.0, 0.0]
    assert not kernel_density(np.array([np.nan, np.inf]))[1].any()
