"""A posterior of a formula as a table: means, sds and intervals by name."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from amortppl.fit.predictions import posterior_draws
from amortppl.formula.formula import Formula
from amortppl.formula.names import entries_shown
from amortppl.report.summary import CREDIBLE, TAILS, number

if TYPE_CHECKING:
    import xarray


def coefficient_table(form: Formula, tree: "xarray.DataTree") -> pd.DataFrame:
    """Mean, sd and equal-tailed interval of coefficients, group sds and further parameters.

    Args:
        form: the formula.
        tree: what `ap.fit` returned of it.

    Returns:
        A row for each, in the user's units: `mean`, `sd`, and the ends of the interval.
    """
    draws = posterior_draws(tree)
    rows = {}
    for label, (site, place) in entries_shown(form.parts).items():
        values = np.asarray(draws[site][(slice(None), *place)], float)
        low, high = np.quantile(values, TAILS)
        rows[label] = (values.mean(), values.std(ddof=1), low, high)
    ends = [f"{100 * t:.3g}%" for t in TAILS]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "sd", *ends])


def table_text(table: pd.DataFrame) -> str:
    """The table as text, with decimals by each row's own sd."""
    rows = [[number(v, row["sd"]) for v in row] for _, row in table.iterrows()]
    shown = pd.DataFrame(rows, index=table.index, columns=table.columns)
    return shown.to_string() + f"\n({100 * CREDIBLE:.0f}% intervals)"
