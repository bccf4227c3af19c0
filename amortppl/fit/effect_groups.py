"""What a report of a fit shows beside the posterior, as groups of its tree.

expected   E[y | x_i] of the rows fitted: mean and interval
effects    E[y] along each column, the others at their mean or most frequent value, group
           effects at zero, and the unit of each coefficient's column
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from amortppl.fit.effect_grids import effect_columns, effect_grid, has_levels, is_named
from amortppl.fit.expectations import expect_of_inputs
from amortppl.fit.new_groups import with_new_levels
from amortppl.fit.predictions import posterior_draws
from amortppl.formula.formula import Formula
from amortppl.report.summary import TAILS

if TYPE_CHECKING:
    import xarray

DRAWS, CELLS = 400, 40_000_000
"""Draws that effects are averages of at most; draws times rows up to which there are any."""

COLUMNS = 12
"""Columns whose effects are computed."""


def add_effects(form: Formula, tree: "xarray.DataTree") -> None:
    """Adds the groups `expected` and `effects` to a posterior of a formula.

    All rows are evaluated by one program. Tables too large for it are left as they are.

    Args:
        form: what `ap.formula` returned.
        tree: what `ap.fit` returned of it.

    Raises:
        DataError: the posterior is of several datasets.
    """
    import xarray as xr

    draws = _thin(posterior_draws(tree))
    if len(next(iter(draws.values()))) * len(form.frame) > CELLS:
        return
    names = effect_columns(form)[:COLUMNS]
    grids = {n: effect_grid(form, n) for n in names}
    inputs = _below_each_other(form, [*grids.values()])
    expected = expect_of_inputs(form, with_new_levels(form, draws, inputs, None), inputs)
    summary = np.stack([expected.mean(0), *np.quantile(expected, TAILS, axis=0)], -1)
    levels = list(form.outcome.levels) if expected.ndim == 3 else None
    further = ["level"] if levels else []
    coords = {"end": ["mean", "low", "high"]} | ({"level": levels} if levels else {})
    rows = len(form.frame)
    own = {form.argument: (["row", *further, "end"], summary[:rows])}
    tree["expected"] = xr.DataTree(xr.Dataset(own, coords=coords))
    values, place = {}, rows
    for name, grid in grids.items():
        along = grid[name]
        words = has_levels(form, name)
        coords[f"{name} along"] = [*along.map(str)] if words else along.to_numpy(float)
        end = place + len(grid)
        values[name] = ([f"{name} along", *further, "end"], summary[place:end])
        place = end
    tree["table"] = xr.DataTree(_table(form))
    coords["column"] = list(form.columns)
    values["unit of column"] = (["column"], np.asarray(form.parts.scaling.units, float))
    about = {"outcome": describe_outcome(form)}
    tree["effects"] = xr.DataTree(xr.Dataset(values, coords=coords, attrs=about))


def describe_outcome(form: Formula) -> str:
    """What is expected of a row, in words.

    >>> from amortppl.formula.formula import formula
    >>> form = formula("a ~ x", {"a": ["no", "yes", "no"], "x": [1.0, 2.0, 4.0]}, "bernoulli")
    >>> describe_outcome(form)
    'probability that a is yes'
    """
    name, levels = form.outcome.name, form.outcome.levels
    if form.family == "bernoulli":
        return f"probability that {name} is {levels[1] if levels else 1}"
    kinds = {"binomial": "share of", "categorical": "probability of", "ordinal": "probability of"}
    return f"{kinds.get(form.family, 'expected')} {name}"


def _table(form: Formula) -> "xarray.Dataset":
    """The columns that the formula names: numbers, or levels as text."""
    import xarray as xr

    columns = {}
    for name in [n for n in form.frame.columns if is_named(form.text, n)]:
        values = form.frame[name]
        words = has_levels(form, name)
        columns[name] = ("row", values.map(str).to_numpy(str) if words else values.to_numpy(float))
    return xr.Dataset(columns)


def _thin(draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    count = len(next(iter(draws.values())))
    kept = np.linspace(0, count - 1, min(DRAWS, count)).astype(int)
    return {n: v[kept] for n, v in draws.items()}


def _below_each_other(form: Formula, grids: list[pd.DataFrame]) -> dict[str, np.ndarray]:
    """Inputs of the rows fitted and of all grids, whose groups have a level of their own."""
    parts = [{n: v for n, v in form.data.items() if n != form.argument}]
    for grid in grids:
        inputs = form.inputs(grid)
        for group in form.parts.design.groups:
            inputs[group.name] = np.full(len(grid), len(group.levels), np.int32)
        parts.append(inputs)
    rows = dict(parts[0])
    blank = form.inputs(form.frame.iloc[:1]) if form.parts.outcome.trials is not None else {}
    if "trials" in blank:
        rows["trials"] = np.ones(len(form.frame), np.int64)
    return {n: np.concatenate([p[n] for p in [rows, *parts[1:]]]) for n in rows}
