"""Summaries of draws, one for each entry of each latent, and numbers as text."""

import json
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from amortppl.trust.verdict import Figures, verdict

CREDIBLE = 0.89
"""Probability of the equal-tailed intervals (ArviZ's default)."""

TAILS = (0.5 - CREDIBLE / 2, 0.5 + CREDIBLE / 2)

MOMENTS = {"mean": np.mean, "sd": np.std, "min": np.min, "median": np.median, "max": np.max}
"""What tables of data and predictions show."""


class Summary(NamedTuple):
    """One entry of a latent: its label (`slope[age]`), moments, interval, and draws (S,)."""

    label: str
    mean: float
    sd: float
    low: float
    high: float
    draws: np.ndarray


def label_latents(dataset: xr.Dataset, skip: set[Hashable]) -> Iterator[tuple[str, np.ndarray]]:
    """Every entry of every variable with its label; the dimensions `skip` stay in the values."""
    from arviz_base import xarray_sel_iter
    from arviz_base.labels import BaseLabeller

    label = BaseLabeller().make_label_flat
    for name, where, place in xarray_sel_iter(dataset, skip_dims=skip):
        yield label(name, where, place), dataset[name].isel(place).values


def summaries(posterior: xr.Dataset) -> list[Summary]:
    """Mean, sd and interval of each entry, the variables with most entries last.

    Args:
        posterior: variables with dimensions (chain, draw, ...).
    """
    order = sorted(posterior.data_vars, key=lambda n: posterior[n].size > 50 * _draws(posterior))
    return [
        summarize(label, values)
        for label, values in label_latents(posterior[order], {"chain", "draw"})
    ]


def _draws(posterior: xr.Dataset) -> int:
    return int(posterior.sizes["chain"] * posterior.sizes["draw"])


def summarize(label: str, values: np.ndarray) -> Summary:
    """Moments and interval of one entry's draws; NaN where some are not finite."""
    draws = np.asarray(values, np.float64).ravel()
    if not np.isfinite(draws).all():
        return Summary(label, *(float("nan"),) * 4, draws)
    low, high = np.quantile(draws, TAILS)
    sd = float(draws.std(ddof=1)) if len(draws) > 1 else float("nan")
    return Summary(label, float(draws.mean()), sd, float(low), float(high), draws)


def number(value: Any, scale: float | None = None) -> str:
    """A number as text.

    Three significant figures, or as many decimals as resolve a hundredth of `scale`.
    """
    value = float(value)
    if not np.isfinite(value):
        return "none"
    if scale is not None and np.isfinite(scale) and scale > 0 and abs(value) < 1e6 * scale:
        decimals = int(np.clip(2 - np.floor(np.log10(scale)), 0, 12))
        return f"{round(value, decimals) + 0.0:.{decimals}f}"
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.3g}"


def name_left_out(there: int, shown: int, what: str, how: str = "left out") -> str:
    """How many entries a page leaves out, in words; nothing when it shows all."""
    return f"{there - shown} further {what} {how}." if there > shown else ""


def statistic(tree: xr.DataTree, name: str, otherwise: Any = np.nan) -> Any:
    """One value of `sample_stats`, or `otherwise` where there is none."""
    if "sample_stats" not in tree.children or name not in tree["sample_stats"]:
        return otherwise
    value = np.asarray(tree["sample_stats"][name])
    return value.item() if value.size == 1 else otherwise


def verdict_of(tree: xr.DataTree) -> str:
    """The verdict of the checks on one posterior, in words."""
    return verdict(figures_of(tree)[0])


def figures_of(tree: xr.DataTree) -> list[Figures]:
    """The figures of each dataset's posterior; files of earlier versions lack some of them."""
    stats = tree["sample_stats"].dataset
    khats = np.atleast_1d(stats["khat"].values)

    def stat(name: str, otherwise: Any) -> np.ndarray:
        values = stats[name].values if name in stats else otherwise
        return np.broadcast_to(values, khats.shape)

    finite = stat("finite", _are_finite(tree["posterior"].dataset))
    moved = (stat(n, np.nan) for n in ("mean_moved", "sd_moved"))
    climbed = stat("reliable", None) if "rung_failed" in stats else stat("", None)
    agrees, source = stat("log_joint_agrees", True), stat("source", "amortized")
    compared = ~np.isnan(stat("log_joint_error", 0.0))
    checked = stat("log_joint_checked", compared)
    draws = tree["posterior"].sizes["chain"] * tree["posterior"].sizes["draw"]
    last = stat("missed_spread", np.nan), stat("importance_sample_size", np.inf)
    each = zip(khats, *moved, finite, agrees, climbed, source, checked, *last, strict=True)
    return [
        Figures(
            *numbers,
            bool(fine),
            bool(same),
            None if passed is None else bool(passed),
            str(made),
            bool(judged),
            float(spread),
            float(size),
            draws,
        )
        for *numbers, fine, same, passed, made, judged, spread, size in each
    ]


def _are_finite(posterior: xr.Dataset) -> np.ndarray:
    """Whether all draws are, by dataset."""
    fine = [
        np.isfinite(v).all([d for d in v.dims if d != "task"]).values
        for v in posterior.data_vars.values()
    ]
    return np.all(np.stack(np.broadcast_arrays(*fine)), 0)


def warnings_of(tree: xr.DataTree, name: str, otherwise: Any) -> Any:
    """An attribute of the tree that holds JSON, or `otherwise` where it is empty.

    Files of other programs may have an attribute of this name that is something else.
    """
    try:
        value = json.loads(tree.attrs.get(name) or "null")
    except (TypeError, ValueError):
        return otherwise
    return value if value and isinstance(value, type(otherwise)) else otherwise
