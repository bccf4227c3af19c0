"""Figures of a report, each an SVG image in a data URI.

They are drawn by Matplotlib without pyplot, which would keep global state.
"""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from amortppl.report.kernel_density import kernel_density
from amortppl.report.summary import TAILS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GUIDE, REFERENCE, DATA, SOFT = "#2f6fb5", "#b5482f", "#1d2330", "#8aa9cf"
SMALL, WIDE = (2.4, 1.7), (5.2, 3.1)
FAINT = {"color": SOFT, "linewidth": 0.7, "alpha": 0.6}
PAD = 0.06
"""Inches around a figure's ticks and labels."""

SHOWN = 40
"""Predictive datasets drawn over each other."""


def density(draws: np.ndarray, reference: np.ndarray | None = None) -> str:
    """Marginal density of one latent with its interval; a second posterior's beside it, dashed."""
    figure, axes = blank_axes(SMALL)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    grid, height = kernel_density(draws)
    low, high = np.nanquantile(draws, TAILS) if np.isfinite(draws).any() else (0.0, 0.0)
    inside = (grid >= low) & (grid <= high)
    axes.fill_between(grid, height, where=inside, color=GUIDE, alpha=0.25, linewidth=0)
    axes.plot(grid, height, color=GUIDE, linewidth=1.8)
    if reference is not None:
        axes.plot(*kernel_density(reference), color=REFERENCE, linewidth=1.6, linestyle=(0, (4, 2)))
    axes.set_ylim(0, None)
    return data_uri(figure)


def growth(seen: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> str:
    """Posterior mean and a band of two sds against rows seen, on a logarithmic axis."""
    from matplotlib.ticker import EngFormatter

    figure, axes = blank_axes(SMALL, "rows")
    axes.fill_between(seen, mean - 2 * sd, mean + 2 * sd, color=GUIDE, alpha=0.25, linewidth=0)
    axes.plot(
        seen, mean, color=GUIDE, linewidth=1.8, marker="o" if len(seen) < 3 else None, markersize=3
    )
    axes.set_xscale("log")
    ends = [seen[0], seen[-1]] if len(seen) > 1 else [seen[0]]
    axes.set_xticks(ends, [EngFormatter(places=0, sep="")(end) for end in ends])
    axes.minorticks_off()
    return data_uri(figure)


def losses(training: Sequence[float], held_out: Sequence[float], steps: int) -> str:
    """Losses against updates. The first, steep tenth may lie outside the frame."""
    figure, axes = blank_axes(WIDE, "updates", "loss")
    for values, color, label in (
        (training, SOFT, "training tasks"),
        (held_out, DATA, "held-out tasks"),
    ):
        updates = steps * np.arange(1, len(values) + 1) / len(values)
        axes.plot(updates, values, color=color, linewidth=1.4, label=label)
    tail = [
        v for values in (training, held_out) for v in values[len(values) // 10 :] if np.isfinite(v)
    ]
    if tail and np.ptp(tail) > 0:
        axes.set_ylim(min(tail) - 0.05 * np.ptp(tail), max(tail) + 0.05 * np.ptp(tail))
    axes.legend(frameon=False, fontsize=10)
    return data_uri(figure)


def predictive_density(observed: np.ndarray, predicted: np.ndarray, name: str) -> str:
    """Densities of predictive datasets (S, N) behind that of the data (N,).

    The frame is the data's range and half of it on either side, so that heavy tails do not hide the
    rest.
    """
    figure, axes = blank_axes(WIDE, name)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    width = max(float(np.ptp(observed)), 1e-6)
    frame = (float(observed.min()) - width / 2, float(observed.max()) + width / 2)
    for i, values in enumerate(_some(predicted)):
        inside = values[(values >= frame[0]) & (values <= frame[1])]
        if len(np.unique(inside)) > 2:
            grid, height = kernel_density(inside, 160)
            label = "_predicted" if i else "predicted"
            axes.plot(grid, height * len(inside) / len(values), **FAINT, label=label)
    grid, height = kernel_density(observed)
    axes.plot(grid, height, color=DATA, linewidth=2, label="data")
    axes.set_xlim(*frame)
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=10)
    return data_uri(figure)


def predictive_steps(observed: np.ndarray, predicted: np.ndarray, name: str) -> str:
    """Distribution functions of predictive datasets (S, N) behind that of the data (N,)."""
    figure, axes = blank_axes(WIDE, name, "share of rows at or below")
    heights = np.arange(1, len(observed) + 1) / len(observed)
    for i, values in enumerate(_some(predicted)):
        label = "_predicted" if i else "predicted"
        axes.step(np.sort(values), heights, where="post", **FAINT, label=label)
    axes.step(np.sort(observed), heights, where="post", color=DATA, linewidth=2, label="data")
    width = max(float(np.ptp(observed)), 1.0)
    axes.set_xlim(float(observed.min()) - width / 4, float(observed.max()) + width / 4)
    axes.legend(frameon=False, fontsize=10)
    return data_uri(figure)


def predictive_bars(observed: np.ndarray, predicted: np.ndarray, name: str) -> str:
    """How many rows hold each whole number, in the data (N,) and as predicted (S, N).

    Bars show the data, points and intervals the predictions.

    Kleiber and Zeileis 2016, "Visualizing count data regressions using rootograms": square-root
    heights.
    """
    figure, axes = blank_axes(WIDE, name, "rows (square-root scale)")
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
    return data_uri(figure)


def intervals(
    places: np.ndarray, middle: np.ndarray, low: np.ndarray, high: np.ndarray, marked: np.ndarray
) -> str:
    """Means and intervals of one latent in each of some datasets, all (T,)."""
    figure, axes = blank_axes(WIDE, "task")
    for which, color in ((~marked, GUIDE), (marked, REFERENCE)):
        axes.vlines(places[which], low[which], high[which], color=color, linewidth=1.0, alpha=0.6)
        axes.plot(places[which], middle[which], "o", color=color, markersize=2.5)
    axes.locator_params(axis="x", integer=True)
    return data_uri(figure)


def calibration_curve(observed: np.ndarray, predicted: np.ndarray, name: str) -> str:
    """Observed share of ones against predicted probability, by isotonic regression.

    The shade is that of predicted datasets (S, N). Dimitriadis, Gneiting and Jordan 2021, "Stable
    reliability diagrams for probabilistic classifiers", PNAS 118.
    """
    from scipy.optimize import isotonic_regression

    figure, axes = blank_axes(WIDE, f"predicted probability of {name}", "share of ones")
    order = np.argsort(predicted.mean(0), kind="stable")
    probability = predicted.mean(0)[order]
    curves = np.stack([isotonic_regression(d[order]).x for d in predicted])
    low, high = np.quantile(curves, TAILS, axis=0)
    axes.fill_between(probability, low, high, color=GUIDE, alpha=0.25, linewidth=0)
    axes.plot([0, 1], [0, 1], color=DATA, linewidth=0.8, linestyle=(0, (4, 2)))
    shares = isotonic_regression(observed[order]).x
    axes.plot(probability, shares, color=DATA, linewidth=2, label="data")
    axes.legend(frameon=False, fontsize=10)
    return data_uri(figure)


def survival_curve(
    observed: np.ndarray, predicted: np.ndarray, events: np.ndarray, name: str
) -> str:
    """Kaplan-Meier estimate of the share of rows above each value, behind it predicted datasets."""
    from scipy.stats import CensoredData, ecdf

    figure, axes = blank_axes(WIDE, name, "share of rows above")
    for i, values in enumerate(_some(predicted)):
        label = "_predicted" if i else "predicted"
        share = 1 - np.arange(1, len(values) + 1) / len(values)
        axes.step(np.sort(values), share, where="post", **FAINT, label=label)
    data = CensoredData(uncensored=observed[events], right=observed[~events])
    curve = ecdf(data).sf
    axes.step(curve.quantiles, curve.probabilities, where="post", color=DATA, label="data")
    axes.set_xlim(min(0.0, float(observed.min())), 1.2 * float(observed.max()))
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, fontsize=10)
    return data_uri(figure)


def _some(predicted: np.ndarray) -> np.ndarray:
    return predicted[np.linspace(0, len(predicted) - 1, min(SHOWN, len(predicted))).astype(int)]


def blank_axes(size: tuple[float, float], across: str = "", up: str = "") -> "tuple[Figure, Axes]":
    """An empty figure of a size in inches, and its axes with labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    # A dollar sign of a column's name is no mathematics
    axes.set_xlabel(across.replace("$", r"\$"), fontsize=11)
    axes.set_ylabel(up.replace("$", r"\$"), fontsize=11)
    if size == SMALL:
        axes.locator_params(axis="x", nbins=4)
    return figure, axes


def data_uri(figure: "Figure") -> str:
    """The figure as SVG, its letters drawn as paths: nothing depends on the reader's fonts."""
    _set_margins(figure)
    stream = BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + b64encode(stream.getvalue()).decode()


def _set_margins(figure: "Figure") -> None:
    """Margins as wide as ticks and labels need.

    They are measured once, where Matplotlib's layouts measure all that is in the axes twice: a page
    of twenty figures takes two thirds of the time.
    """
    (axes,) = figure.axes
    outer = figure.bbox.padded(-PAD * figure.dpi)
    boxes = [b for b in (axes.bbox, axes.xaxis.get_tightbbox(), axes.yaxis.get_tightbbox()) if b]
    inner, whole = axes.bbox, axes.bbox.union(boxes)
    left, bottom = outer.x0 + inner.x0 - whole.x0, outer.y0 + inner.y0 - whole.y0
    right, top = outer.x1 + inner.x1 - whole.x1, outer.y1 + inner.y1 - whole.y1
    wide, high = figure.bbox.size
    axes.set_position((left / wide, bottom / high, (right - left) / wide, (top - bottom) / high))
