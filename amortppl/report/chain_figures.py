"""Figures of Markov chains: densities and ranks by chain, traces, pairs, and forests."""

from collections.abc import Sequence

import numpy as np

from amortppl.report.figures import (
    DATA,
    GUIDE,
    REFERENCE,
    SMALL,
    SOFT,
    WIDE,
    blank_axes,
    data_uri,
)
from amortppl.report.kernel_density import kernel_density
from amortppl.report.summary import TAILS, Summary

COLORS = (GUIDE, REFERENCE, "#3f8f5b", "#8a5fb0", "#b8860b", "#5b6470", "#c2558f", "#2a9aa8")
"""Of chains, in turn."""

POINTS, BINS = 400, 20
"""Draws of a chain in a trace, and bars of a rank plot."""


def densities(chains: np.ndarray) -> str:
    """The marginal density of one latent by chain (C, L)."""
    figure, axes = blank_axes(SMALL)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for i, draws in enumerate(chains[:20]):
        fine = draws[np.isfinite(draws)]
        if len(fine) > 1:
            axes.plot(*kernel_density(fine), color=COLORS[i % len(COLORS)], linewidth=1.3)
    axes.set_ylim(0, None)
    return data_uri(figure)


def ranks(chains: np.ndarray) -> str:
    """How many draws of each chain (C, L) fall into each twentieth of all ranks, minus the mean.

    The shade is the pointwise 95% range of independent draws. Vehtari et al. 2021.
    """
    from scipy import stats

    figure, axes = blank_axes(SMALL)
    count, length = chains.shape
    rank = stats.rankdata(chains, axis=None).reshape(chains.shape) / (count * length)
    bins = min(BINS, max(2, length // 5))
    low, high = stats.binom.interval(0.95, length, 1 / bins)
    axes.axhspan(low - length / bins, high - length / bins, color=SOFT, alpha=0.3, linewidth=0)
    for i, each in enumerate(rank[:20]):
        heights = np.histogram(each, bins=bins, range=(0, 1))[0] - length / bins
        axes.stairs(heights, np.linspace(0, 1, bins + 1), color=COLORS[i % len(COLORS)])
    axes.set_xticks([0, 1])
    return data_uri(figure)


def trace(chains: np.ndarray, diverged: np.ndarray | None = None) -> str:
    """Draws of each chain (C, L) in their order, thinned; marks below where one diverged (C, L)."""
    figure, axes = blank_axes(WIDE, "draw")
    places = np.linspace(0, chains.shape[1] - 1, min(POINTS, chains.shape[1])).astype(int)
    for i, draws in enumerate(chains[:20]):
        axes.plot(places, draws[places], color=COLORS[i % len(COLORS)], linewidth=0.6, alpha=0.8)
    if diverged is not None and diverged.any():
        marks = np.flatnonzero(diverged.any(0))[:POINTS]
        axes.plot(marks, np.full(len(marks), 0.0), "|", color=DATA, transform=_below(axes))
    return data_uri(figure)


def _below(axes):
    """Draws at the lower edge, whatever the values are."""
    return axes.get_xaxis_transform()


def pair(
    first: np.ndarray, second: np.ndarray, names: tuple[str, str], diverged: np.ndarray
) -> str:
    """Draws (S,) of two latents against each other, those of diverged transitions on top."""
    figure, axes = blank_axes((3.2, 2.6), _short(names[0]), _short(names[1]))
    some = np.linspace(0, len(first) - 1, min(1000, len(first))).astype(int)
    axes.plot(first[some], second[some], ".", color=GUIDE, markersize=2, alpha=0.35)
    if diverged.any():
        marked = np.flatnonzero(diverged)[:500]
        axes.plot(first[marked], second[marked], ".", color=REFERENCE, markersize=4)
    axes.locator_params(nbins=4)
    return data_uri(figure)


def forest(latents: Sequence[Summary]) -> str:
    """Medians, halves and 89% intervals of latents below each other on one axis."""
    figure, axes = blank_axes((5.2, 0.6 + 0.24 * len(latents)))
    places = -np.arange(len(latents))
    fine = [s.draws[np.isfinite(s.draws)] for s in latents]
    ends = [np.quantile(d, [TAILS[0], 0.25, 0.5, 0.75, TAILS[1]]) for d in fine]
    low, first, middle, third, high = np.array(ends).T
    axes.hlines(places, low, high, color=GUIDE, linewidth=1.2)
    axes.hlines(places, first, third, color=GUIDE, linewidth=3.2)
    axes.plot(middle, places, "o", color="white", markeredgecolor=GUIDE, markersize=4.5)
    if min(low) < 0 < max(high):
        axes.axvline(0, color=DATA, linewidth=0.7, linestyle=(0, (3, 3)))
    axes.set_yticks(places, [_short(s.label) for s in latents], fontsize=9)
    axes.set_ylim(places[-1] - 0.7, 0.7)
    return data_uri(figure)


def _short(label: str, most: int = 28) -> str:
    """A label that leaves room for the figure; dollar signs are not mathematics."""
    cut = label if len(label) <= most else f"{label[: most // 2 - 1]}…{label[-most // 2 :]}"
    return cut.replace("$", r"\$")
