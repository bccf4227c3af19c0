"""Densities of draws for figures: a Gaussian kernel whose width is found by diffusion.

Botev, Grotowski and Kroese 2010, "Kernel density estimation via diffusion", Annals of Statistics
38: the improved Sheather-Jones width; averaged with Silverman's, as ArviZ does. NumPy alone:
ArviZ's own estimate brings in all of scipy.stats, 0.7 CPU s of a process that writes one report.
"""

import numpy as np

BINS = 256
"""Bins of the histogram that is smoothed."""

ORDERS = range(6, 1, -1)
"""Derivatives of the density whose sizes lead to the width, from the highest down."""

WIDTHS = 30
"""Widths among which the fixed point is looked for, on a logarithmic grid."""


def kernel_density(draws: np.ndarray, points: int = 220) -> tuple[np.ndarray, np.ndarray]:
    """Points and the density there, of the draws that are finite; a peak where all are equal.

    The density is reflected at the smallest and the largest draw.

    Example:
        >>> at, height = kernel_density(np.random.default_rng(0).standard_normal(4000))
        >>> round(float(np.interp(0.0, at, height)), 1)
        0.4
    """
    draws = np.asarray(draws, np.float64).ravel()
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return np.array([-1.0, 1.0]), np.zeros(2)
    low, high = float(draws.min()), float(draws.max())
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        return low + np.array([-1e-3, 0.0, 1e-3]), np.array([0.0, 1.0, 0.0])
    shares = np.histogram(draws, BINS, (low, high))[0] / len(draws)
    cosines = _transform(shares)
    usual = _silverman(draws) / (high - low)
    width = 0.5 * (usual + (_diffusion(cosines, len(draws)) or usual))
    smooth = cosines * np.exp(-0.5 * (np.pi * np.arange(BINS) * width) ** 2)
    at = np.linspace(0.0, 1.0, points)
    height = np.cos(np.pi * np.outer(at, np.arange(BINS))) @ smooth
    return low + at * (high - low), np.maximum(height, 0.0) / (high - low)


def _transform(shares: np.ndarray) -> np.ndarray:
    """Coefficients a_k of a density sum_k a_k cos(pi k x) on the unit interval."""
    count = len(shares)
    mirrored = np.fft.rfft(np.concatenate([shares, shares[::-1]]))[:count]
    turned = mirrored * np.exp(-0.5j * np.pi * np.arange(count) / count)
    return np.where(np.arange(count) == 0, 0.5, 1.0) * turned.real


def _silverman(draws: np.ndarray) -> float:
    quartiles = np.quantile(draws, [0.25, 0.75])
    spread = min(float(draws.std()), float(np.ptp(quartiles)) / 1.34)
    return 0.9 * (spread or float(draws.std())) * len(draws) ** -0.2


def _diffusion(cosines: np.ndarray, count: int) -> float:
    """The width t^(1/2) with t = g(t), the first on a grid of t, on the unit interval; 0 for none.

    g estimates the best t from the size of the second derivative, that one's best width from the
    third derivative's size, and so on up to the seventh, which is taken at t itself.
    """
    waves = np.arange(1, len(cosines)) ** 2.0
    sizes = (cosines[1:] / 2) ** 2
    grid = np.geomspace(1e-7, 1e-2, WIDTHS)
    norm = _derivative(7, waves, sizes, grid)
    with np.errstate(all="ignore"):
        for order in ORDERS:
            odd = np.prod(np.arange(1.0, 2 * order, 2)) / np.sqrt(np.pi / 2)
            half = (1 + 0.5 ** (order + 0.5)) / 3
            t = (half * odd / (count * norm)) ** (2 / (3 + 2 * order))
            norm = _derivative(order, waves, sizes, t)
        gap = grid - (2 * count * np.sqrt(np.pi) * norm) ** -0.4
    crossing = np.flatnonzero((gap[:-1] < 0) & (gap[1:] >= 0))
    if not len(crossing):
        return 0.0
    i = crossing[0]
    return float(np.sqrt(grid[i] - gap[i] * (grid[i + 1] - grid[i]) / (gap[i + 1] - gap[i])))


def _derivative(order: int, waves: np.ndarray, sizes: np.ndarray, t: np.ndarray) -> np.ndarray:
    """2 pi^(2 order) sum_k k^(2 order) a_k^2 exp(-k^2 pi^2 t): of the density's derivative."""
    decay = np.exp(-np.minimum(np.pi**2 * np.outer(t, waves), 700.0))
    return 2 * np.pi ** (2 * order) * (decay @ (waves**order * sizes))
