"""Many datasets in a report: a table that sorts, and plots that fold."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.sections import LEVELS
from amortppl.report.summary import (
    TAILS,
    Summary,
    figures_of,
    label_latents,
    name_left_out,
    number,
    summaries,
    warnings_of,
)
from amortppl.trust.verdict import verdict

OPENED, MEANS, PLOTS = 40, 4, 6
"""Datasets whose plots are in the page, latents in the table, and plots for each dataset."""

FEW, CHOICES, INTERVALS = 50, 12, 200
"""Datasets named that cannot be trusted, latents to choose from, and intervals in a figure."""


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

    @property
    def kind(self) -> str:
        """The first words of the verdict."""
        return next(k for k in LEVELS if self.verdict.startswith(k))

    @property
    def khat_words(self) -> str:
        """k-hat as text."""
        return "none" if np.isnan(self.khat) else f"{self.khat:.2f}"

    def cells(self) -> list[str]:
        """The row's cells as text."""
        means = [number(s.mean, s.sd) for s in self.latents]
        first = [str(self.task), number(self.rows), self.khat_words, self.rung, self.kind]
        return [*first, *means, str(len(self.notes))]

    def keys(self) -> list[float | None]:
        """What the cells sort by."""
        khat = -1e9 if np.isnan(self.khat) else self.khat
        means = [s.mean for s in self.latents]
        return [float(self.task), self.rows, float(khat), None, None, *means, len(self.notes)]


def datasets(tree: xr.DataTree, order: Sequence[int], verdicts: Sequence[str]) -> str:
    """The table: task, rows, k-hat, rung, verdict, means and number of warnings (notes).

    The first cell opens the dataset's plots.

    Args:
        tree: what `guide.infer` returned for several datasets.
        order: places of the datasets to show, first to last.
        verdicts: of every dataset, by place.
    """
    entries = [_entry(tree, int(place), verdicts) for place in order]
    means = [f"mean {s.label}" for s in entries[0].latents]
    head = ["task", "rows", "k-hat", "rung", "verdict", *means, "notes"]
    opens = [f"task-{i}" if n < OPENED else "" for n, i in enumerate(order)]
    cells, keys = [e.cells() for e in entries], [e.keys() for e in entries]
    return page.sortable("Datasets by k-hat, largest first", head, cells, keys, [3, 4], opens)


def not_trusted(tree: xr.DataTree, order: Sequence[int], verdicts: Sequence[str]) -> str:
    """The datasets that are neither good nor usable, and why; nothing where all are."""
    bad = [int(i) for i in order if not verdicts[i].startswith(("good", "usable"))]
    if not bad:
        return ""
    entries = [_entry(tree, place, verdicts) for place in bad[:FEW]]
    rows = [
        [str(e.task), number(e.rows), e.khat_words, "; ".join([e.verdict, *e.notes[:3]])]
        for e in entries
    ]
    return page.section(
        "Which datasets cannot be trusted, and why",
        page.table("Datasets that cannot be trusted", ["task", "rows", "k-hat", "why"], rows, [3]),
        page.paragraph(name_left_out(len(bad), FEW, "datasets")),
    )


def by_latent(tree: xr.DataTree, verdicts: Sequence[str]) -> str:
    """Mean and interval of a latent in every dataset, for each of the first latents."""
    posterior = tree["posterior"].dataset
    bad = np.array([not v.startswith(("good", "usable")) for v in verdicts])
    some = np.unique(np.linspace(0, len(bad) - 1, min(INTERVALS, len(bad))).astype(int))
    parts = {}
    for label, values in islice(label_latents(posterior, {"task", "chain", "draw"}), CHOICES):
        draws = values.reshape(len(bad), -1)[some].astype(float)
        low, high = np.nanquantile(draws, TAILS, axis=1)
        middle = np.nanmean(draws, 1)
        uri = figures.intervals(some, middle, low, high, bad[some])
        alt = f"Mean and 89% interval of {label} in {len(some)} datasets, means between "
        alt += f"{number(np.nanmin(middle))} and {number(np.nanmax(middle))}."
        caption = f"{label} by dataset: mean and 89% interval"
        caption += "; in red those that cannot be trusted." if bad.any() else "."
        parts[label] = page.figure(uri, alt, caption, wide=True)
    return page.section("The latents over the datasets", page.choice("Latent", parts))


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
