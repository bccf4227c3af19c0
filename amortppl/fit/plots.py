"""The expected outcome along one column, as a plot."""

from typing import TYPE_CHECKING, Any

import numpy as np

from amortppl.errors import DataError
from amortppl.fit.effect_grids import effect_grid, expect_in_predictor, has_levels
from amortppl.fit.effect_groups import describe_outcome
from amortppl.fit.effects import predictions
from amortppl.formula.formula import Formula

if TYPE_CHECKING:
    import xarray


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

    expect_in_predictor(form, column, "plot_effects")
    if form.family in ("ordinal", "categorical"):
        raise DataError("plot_effects: of levels, ask for predictions(form, post, table)")
    grid = effect_grid(form, column)
    table = predictions(form, post, grid)
    axes = plt.subplots(figsize=(5.0, 3.5))[1] if axes is None else axes
    low, high = table.columns[2:]
    if not has_levels(form, column):
        axes.plot(grid[column], table["mean"])
        axes.fill_between(grid[column], table[low], table[high], alpha=0.25, linewidth=0)
    else:
        ends = np.stack([table["mean"] - table[low], table[high] - table["mean"]])
        axes.errorbar(grid[column].astype(str), table["mean"], yerr=ends, fmt="o", capsize=3)
    axes.set_xlabel(column)
    axes.set_ylabel(describe_outcome(form))
    return axes
