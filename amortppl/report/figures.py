"""Figures of a report, each an SVG image in a data URI. Matplotlib without pyplot: no global
state.
"""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from amortppl.report.summary import TAILS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GUIDE, REFERENCE, DATA, SOFT = "#2f6fb5", "#b5482f", "#1d2330", "#8aa9cf"
SMALL, WIDE = (2.4, 1.7), (5.2, 3.1)
FAINT = {"color": SOFT, "linewidth": 0.7, "alpha": 0.6}
SHOWN = 40
"""Predictive datasets drawn over each other."""


def density(draws: np.ndarray, reference: np.ndarray | None = None) -> str:
    """Marginal density of one latent with its interval; a second posterior's beside it, dashed."""
    figure, axes = _axes(SMALL)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    grid, height = _kde(draws)
    inside = (grid >= np.quantile(draws, TAILS[0])) & (grid <= np.quantile(draws, TAILS[1]))
    axes.fill_between(grid, height, where=inside, color=GUIDE, alpha=0.25, linewidth=0)
    axes.plot(grid, height, color=GUIDE, linewidth=1.8)
    if reference is not None:
        axes.plot(*_kde(reference), color=REFERENCE, linewidth=1.6, linestyle=(0, (4, 2)))
    axes.set_ylim(0, None)
    return _uri(figure)


def growth(seen: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> str:
    """Posterior mean and two sds on either side against rows seen, on a logarithmic axis."""
    from matplotlib.ticker import EngFormatter

    figure, axes = _axes(SMALL, "rows")
    axes.fill_between(seen, mean - 2 * sd, mean + 2 * sd, color=GUIDE, alpha=0.25, linewidth=0)
    axes.plot(
        seen, mean, color=GUIDE, linewidth=1.8, marker="o" if len(seen) < 3 else None, markersize=3
    )
    axes.set_xscale("log")
    ends = [seen[0], seen[-1]] if len(seen) > 1 else [seen[0]]
    axes.set_xticks(ends, [EngFormatter(places=0, sep="")(end) for end in ends])
    axes.minorticks_off()
    return _uri(figure)


def losses(training: Sequence[float], held_out: Sequence[float], steps: int) -> str:
    """Losses over the updates; the first, steep tenth may leave the frame."""
    figure, axes = _axes(WIDE, "updates", "loss")
    for values, color, label in (
        (training, SOFT, "training tasks"),
        (held_out, DATA, "held-out tasks"),
    ):
        axes.plot(
            steps * np.arange(1, len(values) + 1) / len(values),
            values,
            color=color,
            linewidth=1.4,
            label=label,
        )
    tail = [
        v for values in (training, held_out) for v in values[len(values) // 10 :] if np.isfinite(v)
    ]
    if tail and np.ptp(tail) > 0:
        axes.set_ylim(min(tail) - 0.05 * np.ptp(tail), max(tail) + 0.05 * np.ptp(tail))
    axes.legend(frameon=False, fontsize=10)
    return _uri(figure)


def predictive_density(observed: np.ndarray, predicted: np.ndarray, name: str) -> str:
    """Densities of predictive datasets (S, N) under that of the data (N,).

    The frame is the data's range and half of it on either side, so that heavy tails do not hide the
    rest.
    """
    figure, axes = _axes(WIDE, name)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    width = max(float(np.ptp(observed)), 1e-6)
    frame = (float(observed.min()) - width / 2, float(observed.max()) + width / 2)
    for i, values in enumerate(_some(predicted)):
        kept = values[(values >= frame[0]) & (values <= frame[1])]
        if len(np.unique(kept)) > 2:
            grid, height = _kde(kept, 160)
            axes.plot(
                grid,
                height * len(kept) / len(values),
                **FAINT,
                label="_predicted" if i else "predicted",
            )
    grid, height = _kde(observed)
    axes.plot(grid, height, color=DATA, linewidth=2, label="data")
    axes.set_xlim(*frame)
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=10)
    return _uri(figure)


def predictive_steps(observed: np.ndarray, predicted: np.ndarray, name: str) -> str:
    """Empirical distribution functions of predictive datasets (S, N) under that of the data
    (N,).
    """
    figure, axes = _axes(WIDE, name, "share of rows at or below")
    heights = np.arange(1, len(observed) + 1) / len(observed)
    for i, values in enumerate(_some(predicted)):
        axes.step(
            np.sort(values),
            heights,
            where="post",
            **FAINT,
            label="_predicted" if i else "predicted",
        )
    axes.step(np.sort(observed), heights, where="post", color=DATA, linewidth=2, label="data")
    width = max(float(np.ptp(observed)), 1.0)
    axes.set_xlim(float(observed.min()) - width / 4, float(observed.max()) + width / 4)
    axes.legend(frameon=False, fontsize=10)
    return _uri(figure)


def predictive_bars(observed: np.ndarray, predicted: np.ndarray, name: str) -> str:
    """How many rows hold each whole number: bars for the data, points and intervals for
    predictions.

    Kleiber and Zeileis 2016, "Visualizing count data regressions using rootograms": square-root
    heights.
    """
    figure, axes = _axes(WIDE, name, "rows (square-root scale)")
    values = np.arange(observed.min(), max(observed.max(), np.quantile(predicted, 0.995)) + 1)
    counts = np.stack([(predicted == v).sum(1) for v in values])
    low, middle, high = np.quantile(counts, [TAILS[0], 0.5, TAILS[1]], axis=1)
    axes.bar(
        values, [(observed == v).sum() for v in values], width=0.75, color="#d8dee8", label="data"
    )
    bars = [middle - low, high - middle]
    axes.errorbar(
        values, middle, bars, fmt="o", color=GUIDE, markersize=4, linewidth=1.6, label="predicted"
    )
    axes.set_yscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0)), np.square))
    axes.set_ylim(0, 1.15 * max(high.max(), 1))
    axes.locator_params(axis="x", integer=True, nbins=10)
    axes.legend(frameon=False, fontsize=10)
    return _uri(figure)


def _some(predicted: np.ndarray) -> np.ndarray:
    return predicted[np.linspace(0, len(predicted) - 1, min(SHOWN, len(predicted))).astype(int)]


def _kde(draws: np.ndarray, points: int = 220) -> tuple[np.ndarray, np.ndarray]:
    from arviz_stats.base.array import array_stats

    draws = np.asarray(draws, np.float64).ravel()
    if np.ptp(draws) <= 1e-9 * max(1.0, float(np.abs(draws).max())):
        return draws[0] + np.array([-1e-3, 0.0, 1e-3]), np.array([0.0, 1.0, 0.0])
    grid, height, _ = array_stats.kde(draws, grid_len=points)
    return np.asarray(grid), np.asarray(height)


def _axes(size: tuple[float, float], across: str = "", up: str = "") -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    axes.set_xlabel(across, fontsize=11)
    axes.set_ylabel(up, fontsize=11)
    if size == SMALL:
        axes.locator_params(axis="x", nbins=4)
    return figure, axes


def _uri(figure: "Figure") -> str:
    """SVG with letters drawn as paths: nothing depends on the reader's fonts."""
    stream = BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + b64encode(stream.getvalue()).decode()
