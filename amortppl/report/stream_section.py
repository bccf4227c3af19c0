"""The section of a report about a posterior that grew over mini-batches."""

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.summary import label_latents, name_left_out, number, statistic

PLOTS = 12
"""Latents whose trace a page shows at most."""


def growth_section(tree: xr.DataTree) -> str:
    """Posterior means and sds against rows seen, and what the mini-batches said; nothing without a
    trace.
    """
    if "trace" not in tree.children:
        return ""
    trace = tree["trace"].dataset
    seen = np.asarray(trace["seen"], float)
    means, sds = (
        dict(label_latents(trace[[n for n in trace.data_vars if str(n).endswith(kind)]], {"seen"}))
        for kind in ("_mean", "_sd")
    )
    pairs = [
        (label.replace("_mean", "", 1), m, s)
        for (label, m), s in zip(means.items(), sds.values(), strict=True)
    ]
    shown = [_plot(label, seen, m, s) for label, m, s in pairs[:PLOTS]]
    return page.section(
        "How it grew with the rows",
        page.paragraph(_said(tree, seen)),
        page.plots(shown),
        page.paragraph(name_left_out(len(pairs), PLOTS, "latents", "without a figure")),
    )


def _said(tree: xr.DataTree, seen: np.ndarray) -> str:
    steps, surprise = statistic(tree, "steps"), statistic(tree, "surprise")
    said = f"{number(seen[-1])} rows in {number(steps)} mini-batches; the band is the mean and two sds on either side."
    if np.isfinite(surprise):
        said += (
            f" Each mini-batch was compared with what the posterior before it expected: "
            f"{surprise:.2f} times as "
            "surprising as the model says (about 1 when rows and model agree and their order does "
            "not matter)."
        )
    return said


def _plot(label: str, seen: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> str:
    last = f"{number(mean[-1], sd[-1])} with sd {number(sd[-1], sd[-1])}"
    alt = f"Posterior mean of {label} against rows seen, a band of two sds around it, ending at {last}."
    return page.figure(figures.growth(seen, mean, sd), alt, label)
