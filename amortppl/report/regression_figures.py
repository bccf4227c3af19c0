"""Figures of a regression: forests, effects, residuals, calibration, each an SVG in a data URI."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from amortppl.report.figures import DATA, GUIDE, SOFT, blank_axes, data_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EFFECT, NARROW = (4.4, 2.9), 6.2
"""Size of an effect's figure, and width of a forest, in inches."""


def forest(labels: Sequence[str], ends: np.ndarray, across: str) -> str:
    """Means and intervals (R, 3) beside their labels, with a line at zero."""
    figure, axes = blank_axes((NARROW, 0.7 + 0.27 * len(labels)), across)
    heights = np.arange(len(labels))[::-1]
    axes.axvline(0.0, color="#c4cbd8", linewidth=1)
    axes.hlines(heights, ends[:, 1], ends[:, 2], color=GUIDE, linewidth=2)
    axes.plot(ends[:, 0], heights, "o", color=GUIDE, markersize=5)
    axes.set_yticks(heights, labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return data_uri(figure)


def effect(along: np.ndarray, ends: np.ndarray, across: str, names: Sequence[str] = ()) -> str:
    """Expected outcomes (G, 3) along a column, or (G, K, 3) with a colour for each level."""
    figure, axes = blank_axes(EFFECT, across)
    axes.locator_params(nbins=5)
    several = ends if ends.ndim == 3 else ends[:, None]
    colours = [GUIDE] if ends.ndim == 2 else _colours(several.shape[1])
    for k, colour in enumerate(colours):
        own, name = several[:, k], names[k] if names else None
        if along.dtype.kind in "fiu":
            axes.fill_between(along, own[:, 1], own[:, 2], color=colour, alpha=0.2, linewidth=0)
            axes.plot(along, own[:, 0], color=colour, linewidth=1.8, label=name)
            continue
        places = np.arange(len(along)) + 0.12 * (k - (len(colours) - 1) / 2)
        axes.vlines(places, own[:, 1], own[:, 2], color=colour, linewidth=2)
        axes.plot(places, own[:, 0], "o", color=colour, markersize=5, label=name)
    if along.dtype.kind not in "fiu":
        _name_levels(axes, along)
    if names:
        axes.legend(frameon=False, fontsize=9)
    return data_uri(figure)


def _name_levels(axes: "Axes", along: np.ndarray) -> None:
    words = [str(v) if len(str(v)) <= 12 else f"{str(v)[:11]}…" for v in along]
    slanted = sum(map(len, words)) > 24
    axes.set_xticks(
        range(len(words)), words, rotation=40 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.set_xlim(-0.5, len(words) - 0.5)


def _colours(count: int) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](v)) for v in np.linspace(0.05, 0.85, count)]


def residuals(expected: np.ndarray, left: np.ndarray, name: str) -> str:
    """Residuals (N,) against expected values (N,), and means of twelve parts of equal size."""
    figure, axes = blank_axes((5.2, 3.0), f"expected {name}", f"{name} - expected")
    kept = np.random.default_rng(0).permutation(len(left))[:2000]
    axes.axhline(0.0, color="#c4cbd8", linewidth=1)
    axes.plot(expected[kept], left[kept], ".", color=SOFT, markersize=4, alpha=0.7, label="rows")
    parts = [p for p in np.array_split(np.argsort(expected), min(12, len(left) // 10)) if len(p)]
    if len(parts) > 2:
        middles = [[expected[p].mean(), left[p].mean()] for p in parts]
        axes.plot(*np.transpose(middles), color=DATA, linewidth=1.8, label="mean of parts")
        axes.legend(frameon=False, fontsize=9)
    return data_uri(figure)


def calibration(bins: np.ndarray) -> str:
    """Observed shares with intervals against expected ones, (B, 4), and the diagonal."""
    figure, axes = blank_axes((5.2, 3.6), "expected share", "observed share")
    axes.plot([0, 1], [0, 1], color="#c4cbd8", linewidth=1)
    axes.vlines(bins[:, 0], bins[:, 2], bins[:, 3], color=GUIDE, linewidth=2)
    axes.plot(bins[:, 0], bins[:, 1], "o", color=GUIDE, markersize=5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    return data_uri(figure)
