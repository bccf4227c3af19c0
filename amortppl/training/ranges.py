"""What a guide was trained on, and how far a dataset lies outside it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from amortppl.errors import ModelError, quoted
from amortppl.runtime.numpy_evaluation import evaluate_once
from amortppl.runtime.seeds import seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.group_summary import rows_that_count
from amortppl.task.groups import Layout
from amortppl.task.latents import entries

SIMULATED = 2048
"""Tasks simulated for the ranges."""

SLACK = 0.02
"""Share of a range's width that is added at both its ends.

Of 300 datasets of the model at the fewest, a middle and the most rows, 0, 2.3 and 3.3% were warned
of without it under a Gaussian process with inputs of its own range, none with it; of six other
models at most 0.3% at 8 rows, with it or without, and none at 260 and 512 rows.
"""


@dataclass(frozen=True)
class Ranges:
    """Smallest and largest number of rows, and of each number in a row, among simulated tasks.

    Attributes:
        rows: fewest and most rows.
        low, high: by argument, the ends for each number of a row.
    """

    rows: tuple[int, int]
    low: dict[str, list[float]]
    high: dict[str, list[float]]

    @classmethod
    def from_simulations(cls, task: AbstractTask, seed: int) -> "Ranges":
        """The ranges of rows simulated from the task."""
        rows = 1 if task.block else max(task.rows[0], min(16, task.rows[1]))
        draws = evaluate_once(
            jax.vmap(lambda k: task.learning(k, rows).data), split_key(seed_key(seed), SIMULATED)
        )
        drawn = {n: np.asarray(v, np.float64) for n, v in draws.items()}
        tables = {n: v.reshape(SIMULATED * rows, *v.shape[2:]) for n, v in drawn.items()}
        if task.group_layout:
            tables = rows_that_count(task.group_layout, tables)
        flat = {n: v.reshape(len(v), -1) for n, v in tables.items()}
        flat = {n: np.where(np.isfinite(v), v, np.nan) for n, v in flat.items()}
        empty = [n for n, v in flat.items() if np.isnan(v).all(0).any()]
        if empty:
            raise ModelError(
                f"{task.name}: {quoted(empty)} has an entry that is NaN or infinite in all of "
                f"{SIMULATED} simulated datasets. Simulate one, by `task.simulate`, and see where "
                "it comes from"
            )
        low = {n: np.nanmin(v, 0).tolist() for n, v in flat.items()}
        high = {n: np.nanmax(v, 0).tolist() for n, v in flat.items()}
        return cls((1, 1) if task.block else task.rows, low, high)

    def outside(self, arrays: Mapping[str, np.ndarray], layout: Layout | None = None) -> list[str]:
        """Sentences on what of a dataset lies outside the ranges; of groups, with their layout.

        Values count as outside when more than one row in a hundred is beyond the range (by more
        than `SLACK` widths, since simulated values do not reach the ends of possible ones), or one
        is beyond it by more than its width. In a dataset of at most 100 rows a single row is more
        than one in a hundred.
        """
        tables = rows_that_count(layout, arrays) if layout else arrays
        rows = len(tables[layout.index] if layout else next(iter(arrays.values())))
        notes = []
        if not self.rows[0] <= rows <= self.rows[1]:
            more = (
                "; pass ap.batches(data) to take them in mini-batches"
                if rows > self.rows[1] > 1
                else ""
            )
            what = f"groups of {layout.index!r}" if layout else "rows"
            notes.append(
                f"{rows} {what}: the guide was trained for {self.rows[0]} to {self.rows[1]}"
                f"{'' if layout else more}"
            )
        return notes + self.values_outside(tables)

    def outside_each(
        self, datasets: Sequence[Mapping[str, np.ndarray]], layout: Layout | None = None
    ) -> list[list[str]]:
        """`outside` of each of T datasets; those well inside are told by their ends alone."""
        if layout:
            return [self.outside(d, layout) for d in datasets]
        rows = np.array([len(next(iter(d.values()))) for d in datasets])
        near = (rows < self.rows[0]) | (rows > self.rows[1])
        starts = np.r_[0, np.cumsum(rows)[:-1]]
        for name in datasets[0] if rows.all() else ():
            low, high = np.asarray(self.low[name]), np.asarray(self.high[name])
            flat = np.concatenate([d[name] for d in datasets]).reshape(rows.sum(), -1)
            near |= ~np.all(np.minimum.reduceat(flat, starts) >= low, 1)
            near |= ~np.all(np.maximum.reduceat(flat, starts) <= high, 1)
        return [self.outside(d) if near[i] else [] for i, d in enumerate(datasets)]

    def values_outside(self, arrays: Mapping[str, np.ndarray]) -> list[str]:
        """As `outside`, but for the number of rows: for mini-batches."""
        notes = []
        for name, values in arrays.items():
            low, high = np.asarray(self.low[name]), np.asarray(self.high[name])
            flat = values.reshape(len(values), -1)
            width = np.maximum(high - low, 1e-6)
            share = np.mean((flat < low - SLACK * width) | (flat > high + SLACK * width), 0)
            far = np.any((flat < low - width) | (flat > high + width), 0)
            labels = entries(name, values.shape[1:])
            notes += [
                f"{labels[i]} spans [{flat[:, i].min():.4g}, {flat[:, i].max():.4g}]: "
                f"{100 * share[i]:.3g}% of its rows lie outside the range trained on, "
                f"[{low[i]:.4g}, {high[i]:.4g}]"
                for i in np.nonzero((share > 0.01) | far)[0]
            ]
        return notes

    def json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)
