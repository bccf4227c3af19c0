"""Many datasets in a report: a table that sorts, and plots that open."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.summary import figures_of, number, summaries, warnings_of
from amortppl.trust.verdict import verdict

OPENED, MEANS, PLOTS = 40, 4, 6
"""Datasets whose plots are in the page, latents in the table, and plots for each dataset."""


def verdicts(tree: xr.DataTree) -> list[str]:
    """What the checks of each dataset say, in words."""
    return [verdict(figures) for figures in figures_of(tree)]


def datasets(tree: xr.DataTree, order: Sequence[int], said: Sequence[str]) -> str:
    """The table: task, rows, k-hat, rung, means, verdict, warnings; the first cell opens the
    plots.
    """
    khats = _stat(tree, "khat")
    rows = _stat(tree, "rows", np.full(len(khats), np.nan))
    source = _stat(tree, "source", np.full(len(khats), "amortized"))
    shown = summaries(tree["posterior"].dataset.isel(task=0, drop=True))[:MEANS]
    means = [
        summaries(tree["posterior"].dataset.isel(task=int(i), drop=True))[:MEANS] for i in order
    ]
    notes = warnings_of(tree, "warnings", [])
    head = [
        "task",
        "rows",
        "k-hat",
        "rung",
        "verdict",
        *(f"mean {s.label}" for s in shown),
        "warnings",
    ]
    cells, keys = [], []
    for place, latents in zip(order, means, strict=True):
        own = [n.removeprefix(f"task {place}: ") for n in notes if n.startswith(f"task {place}: ")]
        khat = f"{khats[place]:.2f}" if not np.isnan(khats[place]) else "none"
        middle = [number(s.mean, s.sd) for s in latents]
        cells.append(
            [
                str(place),
                number(rows[place]),
                khat,
                str(source[place]),
                said[place],
                *middle,
                "; ".join(own) or "none",
            ]
        )
        sort = khats[place] if not np.isnan(khats[place]) else -1e9
        keys.append(
            [
                float(place),
                float(rows[place]),
                float(sort),
                None,
                None,
                *(s.mean for s in latents),
                len(own),
            ]
        )
    opens = [f"task-{i}" if n < OPENED else "" for n, i in enumerate(order)]
    words = [3, 4, len(head) - 1]
    return page.sortable("Datasets by k-hat, largest first", head, cells, keys, words, opens)


def fold_datasets(
    tree: xr.DataTree, order: Sequence[int], pick: Callable[[xr.DataTree, int], xr.DataTree]
) -> list[str]:
    """The densities of each dataset's first latents, folded away."""
    parts = []
    for place in order:
        latents = summaries(pick(tree, int(place))["posterior"].dataset)[:PLOTS]
        plots = [
            page.figure(figures.density(s.draws), _alt(s, int(place)), s.label) for s in latents
        ]
        parts.append(page.foldable(f"task-{place}", f"Task {place}", page.plots(plots)))
    return parts


def _alt(latent: Any, place: int) -> str:
    mean, sd = number(latent.mean, latent.sd), number(latent.sd, latent.sd)
    return f"Posterior density of {latent.label} in task {place}: mean {mean}, sd {sd}."


def _stat(tree: xr.DataTree, name: str, otherwise: Any = None) -> Any:
    return (
        np.atleast_1d(tree["sample_stats"][name].values)
        if name in tree["sample_stats"]
        else otherwise
    )
