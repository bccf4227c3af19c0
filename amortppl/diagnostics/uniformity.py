"""Tests and bands of uniformity for probability integral transforms, and Holm's correction."""

import numpy as np
from scipy import stats

BAND = 0.95
"""Probability that the whole curve of a calibrated guide lies inside its band."""

BEYOND = 50
"""Uniform samples outside of a simultaneous band, among those that it is made from.

With so many, one minus the band's probability is exact to a seventh of itself."""


def p_values(pit: np.ndarray) -> np.ndarray:
    """A p-value of uniformity for each column of (T, P) transforms.

    Three tests joined by Bonferroni's rule: of the whole distribution function, all its points at
    once (Cauchy combination of pointwise tests, Tesso and Vehtari 2026, arXiv 2603.02928), and with
    z = Phi^-1(pit) of the mean, sum z / sqrt(T) ~ N(0, 1) (a shifted posterior), and of the
    squares, sum z^2 ~ chi^2_T (a wrong width; Cook, Gelman and Rubin 2006).
    """
    from arviz_stats.base import array_stats

    pit = np.clip(np.asarray(pit, np.float64), 1e-9, 1 - 1e-9)
    count, z = len(pit), stats.norm.ppf(pit)
    whole = np.asarray(array_stats.uniformity_test(pit, axis=0)[0])
    centre = 2 * stats.norm.sf(np.abs(z.sum(0)) / np.sqrt(count))
    spread = 2 * np.minimum(
        stats.chi2.cdf((z**2).sum(0), count), stats.chi2.sf((z**2).sum(0), count)
    )
    return np.minimum(1.0, 3 * np.minimum(whole, np.minimum(centre, spread)))


def distance_from_uniform(pit: np.ndarray) -> float:
    """Largest distance of the distribution function of n transforms (n,) from the uniform one.

    >>> distance_from_uniform(np.array([0.25, 0.75]))
    0.0
    """
    middles = (np.arange(len(pit)) + 0.5) / len(pit)
    return float(np.max(np.abs(np.sort(pit) - middles)))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values of any shape, corrected for their number.

    Under the null hypothesis any of them is below a with probability at most a. Holm 1979, "A
    simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, axis=None)
    steps = np.maximum.accumulate(p.ravel()[order] * np.arange(p.size, 0, -1))
    values = np.empty(p.size)
    values[order] = np.minimum(1.0, steps)
    return values.reshape(p.shape)


def difference_band(
    count: int, probability: float = BAND
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, and the ends of the simultaneous band of ECDF minus uniform for `count` values.

    Säilynoja, Bürkner and Vehtari 2022, "Graphical test for discrete uniformity and its
    applications in goodness-of-fit evaluation and multiple sample comparison", Statistics and
    Computing 32.
    """
    from arviz_stats.ecdf_utils import get_pointwise_confidence_band, simulate_confidence_bands

    at = np.linspace(0, 1, min(count, 200) + 1)[1:-1]
    samples = round(BEYOND / (1 - probability))
    level = simulate_confidence_bands(count, 1, at, probability, samples, np.random.default_rng(0))
    low, high = get_pointwise_confidence_band(level, count, at)
    return at, low - at, high - at


def difference(pit: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Empirical distribution function of (T,) transforms minus the uniform one, at the points."""
    return np.searchsorted(np.sort(pit), at, side="right") / len(pit) - at
