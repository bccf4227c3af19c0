"""Figures of a calibration report."""

import numpy as np

from amortppl.diagnostics.uniformity import difference
from amortppl.report.figures import DATA, FAINT, GUIDE, REFERENCE, SMALL, WIDE, _axes, _uri

BINS = 20

LEAST = -1.0
"""Contraction at the left end of its figure, where a posterior's variance is twice its prior's."""


def beyond(truth: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Which posterior means lie outside the figure: further from the truths than half their
    range.
    """
    low, high = _limits(truth)
    return (mean < low) | (mean > high)


def _limits(truth: np.ndarray) -> tuple[float, float]:
    return float(truth.min() - np.ptp(truth) / 2), float(truth.max() + np.ptp(truth) / 2)


def ranks(pit: np.ndarray) -> str:
    """Histogram of ranks with the pointwise 95% range of each bar."""
    from scipy import stats

    figure, axes = _axes(SMALL)
    low, high = stats.binom.interval(0.95, len(pit), 1 / BINS)
    axes.axhspan(low, high, color=GUIDE, alpha=0.18, linewidth=0)
    axes.hist(pit, bins=BINS, range=(0, 1), color=GUIDE, alpha=0.75, rwidth=0.85)
    axes.set_yticks([])
    return _uri(figure)


def ecdf(pit: np.ndarray, band: tuple[np.ndarray, np.ndarray, np.ndarray]) -> str:
    """ECDF of ranks minus uniform, in its simultaneous band; the part outside in another colour."""
    figure, axes = _axes(SMALL)
    at, low, high = band
    curve = difference(pit, at)
    outside = (curve < low - 1e-12) | (curve > high + 1e-12)
    axes.fill_between(at, low, high, color=GUIDE, alpha=0.18, linewidth=0)
    axes.plot(at, curve, color=GUIDE, linewidth=1.6)
    axes.plot(at[outside], curve[outside], "x", color=REFERENCE, markersize=4)
    return _uri(figure)


def coverage(pits: np.ndarray, together: np.ndarray) -> str:
    """Share of truths inside central intervals against their probability, each latent and all
    together.
    """
    figure, axes = _axes(WIDE, "probability of the interval", "share of truths inside")
    level = np.linspace(0, 1, 101)
    axes.plot(
        [0, 1], [0, 1], color=DATA, linewidth=1, linestyle=(0, (4, 2)), label="as it should be"
    )
    for i, pit in enumerate(pits.T):
        inside = np.searchsorted(np.sort(2 * np.abs(pit - 0.5)), level) / len(pit)
        axes.plot(level, inside, **FAINT, label="_latent" if i else "each latent")
    inside = np.searchsorted(np.sort(1 - together), level) / len(together)
    axes.plot(level, inside, color=GUIDE, linewidth=2, label="all, by density")
    axes.legend(frameon=False, fontsize=10)
    return _uri(figure)


def recovery(truth: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> str:
    """Posterior mean and sd against the truth, but for those `beyond`."""
    figure, axes = _axes(SMALL)
    low, high = _limits(truth)
    axes.set_ylim(max(low, np.min(mean - sd)), min(high, np.max(mean + sd)))
    axes.axline(
        (truth.mean(), truth.mean()), slope=1, color=DATA, linewidth=1, linestyle=(0, (4, 2))
    )
    axes.errorbar(
        truth,
        mean,
        sd,
        fmt="o",
        color=GUIDE,
        ecolor="#8aa9cf",
        markersize=2,
        linewidth=0.5,
        alpha=0.7,
    )
    return _uri(figure)


def contraction(contracted: np.ndarray, z: np.ndarray) -> str:
    """z-score against contraction of every dataset (Schad, Betancourt and Vasishth 2021); those
    below `LEAST` at it.
    """
    figure, axes = _axes(SMALL)
    contracted = np.maximum(contracted, LEAST)
    axes.axhspan(-2, 2, color=GUIDE, alpha=0.12, linewidth=0)
    axes.plot(contracted, z, "o", color=GUIDE, markersize=2, alpha=0.7)
    axes.set_ylim(-max(4.0, np.abs(z).max()), max(4.0, np.abs(z).max()))
    return _uri(figure)
