"""The expected outcome along one column, as a plot."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from amortppl.errors import DataError
from amortppl.fit.effects import predictions
from amortppl.formula.formula import Formula
from amortppl.formula.table import expect_columns

if TYPE_CHECKING:
    import xarray

POINTS = 60
"""Values along a column of numbers."""


def plot_effects(form: Formula, post: "xarray.DataTree", column: str, axes: Any = None) -> Any:
    """Plots the expected outcome along a column, the others at their mean or most frequent value.

    Args:
        form: what `ap.formula` returned.
        post: what `ap.fit` returned of it.
        column: the column.
        axes: matplotlib's axes; new ones by default.

    Returns:
        The axes.

    Raises:
        DataError: there is no such column, or the outcome has more than two levels.

    Example:
        >>> import amortppl as ap, pandas as pd
        >>> table = pd.DataFrame({"x": range(8), "y": [0.1, 1.2, 1.9, 3.1, 4.0, 5.2, 5.8, 7.1]})
        >>> form = ap.formula("y ~ x", table)
        >>> post = ap.fit(form)
        >>> ap.plot_effects(form, post, "x").get_ylabel()
        'expected y'
    """
    import matplotlib.pyplot as plt

    expect_columns(form.frame, [column], "plot_effects")
    if form.family in ("ordinal", "categorical"):
        raise DataError("plot_effects: of levels, ask for predictions(form, post, table)")
    grid = effect_grid(form.frame, column)
    table = predictions(form, post, grid)
    axes = plt.subplots(figsize=(5.0, 3.5))[1] if axes is None else axes
    low, high = table.columns[2:]
    if pd.api.types.is_numeric_dtype(grid[column]):
        axes.plot(grid[column], table["mean"])
        axes.fill_between(grid[column], table[low], table[high], alpha=0.25, linewidth=0)
    else:
        ends = np.stack([table["mean"] - table[low], table[high] - table["mean"]])
        axes.errorbar(grid[column].astype(str), table["mean"], yerr=ends, fmt="o", capsize=3)
    axes.set_xlabel(column)
    axes.set_ylabel(f"expected {form.outcome.name}")
    return axes


def effect_grid(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows that differ in one column alone.

    >>> effect_grid(pd.DataFrame({"a": [0.0, 2.0], "g": ["u", "u"]}), "g")["a"].tolist()
    [1.0]
    """
    values = frame[column].dropna()
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        along: Any = np.linspace(float(values.min()), float(values.max()), POINTS)
    else:
        along = sorted(pd.unique(values), key=str)
    typical = {n: _typical(frame[n]) for n in frame.columns if n != column}
    return pd.DataFrame({**typical, column: along})


def _typical(values: pd.Series) -> Any:
    """The mean of numbers that vary; else the most frequent value."""
    if pd.api.types.is_float_dtype(values) or (
        pd.api.types.is_integer_dtype(values) and values.nunique() > 10
    ):
        return float(values.mean())
    common = values.mode()
    return common.iloc[0] if len(common) else None
