"""A posterior of a formula as a table: means, sds and intervals by name."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from amortppl.fit.predictions import posterior_draws
from amortppl.formula.formula import Formula
from amortppl.formula.names import entries_shown
from amortppl.report.summary import CREDIBLE, TAILS, figures_of, number
from amortppl.trust.verdict import verdict

if TYPE_CHECKING:
    import xarray

ROWS = 30
"""Datasets shown at most."""


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


def table_of_tasks(form: Formula, tree: "xarray.DataTree") -> str:
    """Means and sds of several datasets as text, a row for each; the first where there are many."""
    posterior, entries = tree["posterior"].dataset, entries_shown(form.parts)
    labels, columns = posterior["task"].values[:ROWS], {}
    for name, (site, place) in entries.items():
        each = posterior[site].values[:ROWS].reshape(len(labels), -1, *posterior[site].shape[3:])
        draws = each[(slice(None), slice(None), *place)].astype(float)
        pairs = zip(draws.mean(1), draws.std(1, ddof=1), strict=True)
        columns[name] = [f"{number(m, s)} ({number(s, s)})" for m, s in pairs]
    left = posterior.sizes["task"] - len(labels)
    shown = pd.DataFrame(columns, index=list(map(str, labels))).to_string()
    return shown + "\n(mean and sd" + (f"; {left} more in the posterior)" if left else ")")


def verdicts_text(tree: "xarray.DataTree") -> str:
    """How many datasets have each verdict."""
    counts = Counter(verdict(f) for f in figures_of(tree)).most_common()
    return "\n".join(f"{count} of {sum(c for _, c in counts)} {words}" for words, count in counts)


def table_text(table: pd.DataFrame) -> str:
    """The table as text, with decimals by each row's own sd."""
    rows = [[number(v, row["sd"]) for v in row] for _, row in table.iterrows()]
    shown = pd.DataFrame(rows, index=table.index, columns=table.columns)
    return shown.to_string() + f"\n({100 * CREDIBLE:.0f}% intervals)"
