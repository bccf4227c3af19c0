"""Many datasets in a report: a table that sorts, and plots that fold."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.summary import Summary, figures_of, number, summaries, warnings_of
from amortppl.trust.verdict import verdict

OPENED, MEANS, PLOTS = 40, 4, 6
"""Datasets whose plots are in the page, latents in the table, and plots for each dataset."""


def verdicts(tree: xr.DataTree) -> list[str]:
    """The verdict of the checks on each dataset, in words."""
    return [verdict(figures) for figures in figures_of(tree)]


class _Entry(NamedTuple):
    """What the table shows of one dataset."""

    task: int
    rows: float
    khat: float
    rung: str
    verdict: str
    latents: list[Summary]
    notes: list[str]

    def cells(self) -> list[str]:
        """The row's cells as text."""
        khat = "none" if np.isnan(self.khat) else f"{self.khat:.2f}"
        means = [number(s.mean, s.sd) for s in self.latents]
        first = [str(self.task), number(self.rows), khat, self.rung, self.verdict]
        return [*first, *means, "; ".join(self.notes) or "none"]

    def keys(self) -> list[float | None]:
        """What the cells sort by."""
        khat = -1e9 if np.isnan(self.khat) else self.khat
        means = [s.mean for s in self.latents]
        return [float(self.task), self.rows, float(khat), None, None, *means, len(self.notes)]


def datasets(tree: xr.DataTree, order: Sequence[int], verdicts: Sequence[str]) -> str:
    """The table: task, rows, k-hat, rung, verdict, means and warnings.

    The first cell opens the dataset's plots.

    Args:
        tree: what `guide.infer` returned for several datasets.
        order: places of the datasets to show, first to last.
        verdicts: of every dataset, by place.
    """
    entries = [_entry(tree, int(place), verdicts) for place in order]
    means = [f"mean {s.label}" for s in entries[0].latents]
    head = ["task", "rows", "k-hat", "rung", "verdict", *means, "warnings"]
    opens = [f"task-{i}" if n < OPENED else "" for n, i in enumerate(order)]
    cells, keys = [e.cells() for e in entries], [e.keys() for e in entries]
    words = [3, 4, len(head) - 1]
    return page.sortable("Datasets by k-hat, largest first", head, cells, keys, words, opens)


def _entry(tree: xr.DataTree, place: int, verdicts: Sequence[str]) -> _Entry:
    """What the table shows of the dataset at a place."""
    khats = _stat(tree, "khat")
    rows = _stat(tree, "rows", np.full(len(khats), np.nan))
    source = _stat(tree, "source", np.full(len(khats), "amortized"))
    latents = summaries(tree["posterior"].dataset.isel(task=place, drop=True))[:MEANS]
    mark, notes = f"task {place}: ", warnings_of(tree, "warnings", [])
    own = [n.removeprefix(mark) for n in notes if n.startswith(mark)]
    return _Entry(
        place, float(rows[place]), khats[place], str(source[place]), verdicts[place], latents, own
    )


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


def _alt(latent: Summary, place: int) -> str:
    mean, sd = number(latent.mean, latent.sd), number(latent.sd, latent.sd)
    return f"Posterior density of {latent.label} in task {place}: mean {mean}, sd {sd}."


def _stat(tree: xr.DataTree, name: str, otherwise: Any = None) -> Any:
    """One statistic by dataset (T,), or `otherwise` where there is none."""
    stats = tree["sample_stats"]
    return np.atleast_1d(stats[name].values) if name in stats else otherwise
