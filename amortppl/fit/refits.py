"""Refits of a formula in one call: by levels of columns, of several tables, of bootstrap samples.

All share the formula's program: its columns, levels, units and priors are those of all rows, so
that the posteriors of parts are comparable, and one compiled program answers all of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.errors import DataError
from amortppl.fit.data_task import Arrays
from amortppl.formula.formula import Formula
from amortppl.formula.table import as_frame, expect_columns

if TYPE_CHECKING:
    import xarray


class Refits(NamedTuple):
    """Datasets of one program.

    Attributes:
        labels: of each dataset, along `task`.
        data: the program's arguments of each.
    """

    labels: list[Any]
    data: list[Arrays]

    @classmethod
    def of(cls, form: Formula, labels: list[Any], places: Sequence[np.ndarray]) -> "Refits":
        """Of rows of the formula's data, by their places.

        Raises:
            DataError: cells of the predictors are imputed; they are latents of all rows.
        """
        if form.parts.imputed:
            raise DataError("fit: missing='impute' has latents of all rows; refit with 'drop'")
        return cls(labels, [{n: v[p] for n, v in form.data.items()} for p in places])

    @classmethod
    def by_levels(cls, form: Formula, by: str | Sequence[str]) -> "Refits":
        """One for each level of a column, or for each combination of levels of several.

        Raises:
            DataError: no such column, or it has missing cells.
        """
        names = [by] if isinstance(by, str) else list(by)
        expect_columns(form.frame, names, "by")
        holes = [n for n in names if form.frame[n].isna().any()]
        if holes:
            count = int(form.frame[holes[0]].isna().sum())
            raise DataError(f"by: {holes[0]!r} is missing in {count} of the rows fitted")
        groups = form.frame.groupby(names[0] if len(names) == 1 else names, observed=True).indices
        labels = [", ".join(map(str, k)) if isinstance(k, tuple) else k for k in groups]
        return cls.of(form, labels, [*groups.values()])

    @classmethod
    def by_bootstrap(cls, form: Formula, count: int, seed: int) -> "Refits":
        """So many samples of all rows, with replacement (Efron 1979; Huggins and Miller 2023,
        "Reproducible model selection using bagged posteriors").

        Raises:
            DataError: the count is no whole number above 0.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise DataError(f"bootstrap: expected a whole number above 0, got {count!r}")
        rows = len(form.frame)
        places = np.random.default_rng([seed, 29]).integers(0, rows, (count, rows))
        return cls.of(form, list(range(count)), [*places])


def join_tables(tables: Sequence[Any]) -> tuple[pd.DataFrame, str]:
    """Several tables below each other, and the column that numbers them.

    Raises:
        DataError: there is none, or one is no table or has no rows.
    """
    frames = []
    for place, table in enumerate(tables):
        try:
            frames.append(as_frame(table))
        except DataError as error:
            raise DataError(f"table {place}: {error}") from error
    if not frames:
        raise DataError("data: expected at least one table, got an empty list")
    name = "table"
    while any(name in f.columns for f in frames):
        name += "_"
    numbered = [f.assign(**{name: i}) for i, f in enumerate(frames)]
    return pd.concat(numbered, ignore_index=True), name


def label_tasks(tree: "xarray.DataTree", labels: Sequence[Any]) -> None:
    """Writes the datasets' labels along `task`, in every group."""
    for name, group in tree.children.items():
        if "task" in group.dataset.dims:
            tree[name] = type(tree)(group.dataset.assign_coords(task=list(labels)))
