"""What a formula's posterior says on the outcome's own scale: predictions, contrasts, slopes.

Averages are over the rows of the data (or of another table), draw by draw, so that intervals are
those of the posterior. Arel-Bundock, Greifer and Heiss 2024, "How to interpret statistical models
using marginaleffects for R and Python", JSS 111.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from amortppl.errors import DataError
from amortppl.fit.effect_grids import expect_in_predictor, has_levels, levels_of
from amortppl.fit.expectations import expect_outcome
from amortppl.formula.formula import Formula
from amortppl.formula.table import as_frame, expect_columns, plain_columns
from amortppl.report.summary import TAILS

if TYPE_CHECKING:
    import xarray

STEP = 1e-3
"""Half the step of a slope, in sds of its column: 32 bits leave three digits of the difference."""


def predictions(
    form: Formula, post: "xarray.DataTree", table: Any = None, new_levels: bool = False
) -> pd.DataFrame:
    """The expected outcome of each row: mean, sd and interval.

    Args:
        form: what `ap.formula` returned.
        post: what `ap.fit` returned of it.
        table: rows; those fitted by default.
        new_levels: whether groups may have levels that did not occur in the rows fitted; effects
            of such a level are drawn from the distribution of all levels.

    Raises:
        DataError: the rows lack a column, or have a level that was not there.

    Example:
        >>> import amortppl as ap, pandas as pd
        >>> table = pd.DataFrame({"x": range(8), "y": [0.1, 1.2, 1.9, 3.1, 4.0, 5.2, 5.8, 7.1]})
        >>> form = ap.formula("y ~ x", table)
        >>> post = ap.fit(form)
        >>> ap.predictions(form, post, pd.DataFrame({"x": [10]}))["mean"].round().tolist()
        [10.0]
    """
    frame = form.frame if table is None else as_frame(table)
    draws = expect_outcome(form, post, frame, new_levels)
    return _summary(draws, list(frame.index), form)


def comparisons(
    form: Formula,
    post: "xarray.DataTree",
    column: str,
    between: Sequence[Any] | None = None,
    table: Any = None,
) -> pd.DataFrame:
    """Average change of the expected outcome when a column changes and all else stays.

        1/N sum_i E[y | x_i, column = b] - E[y | x_i, column = a]

    Args:
        form: what `ap.formula` returned.
        post: what `ap.fit` returned of it.
        column: the column that changes.
        between: two values, a and b; by default a step of one unit from each row's own value for
            numbers, and each level against the first for levels (of a boolean, text, categories,
            or a column in `C(...)` or behind a `|`).
        table: rows to average over; those fitted by default.

    Raises:
        DataError: there is no such column in the predictor, or `between` has levels that are none.

    Example:
        >>> import amortppl as ap, pandas as pd
        >>> table = pd.DataFrame({"x": range(8), "y": [0.1, 1.2, 1.9, 3.1, 4.0, 5.2, 5.8, 7.1]})
        >>> form = ap.formula("y ~ x", table)
        >>> post = ap.fit(form)
        >>> ap.comparisons(form, post, "x", between=(0, 5))["mean"].round().tolist()
        [5.0]
    """
    frame = _rows(form, table, column, "comparisons")
    pairs = _pairs(form, frame, column, between)
    changed = {name: _change(form, post, frame, column, pair) for name, pair in pairs.items()}
    if not changed:
        raise DataError(f"comparisons: {column!r} has a single level")
    return _summary(np.stack([*changed.values()], 1), [f"{column}: {n}" for n in changed], form)


def _rows(form: Formula, table: Any, column: str, name: str) -> pd.DataFrame:
    """The rows to average over, dates as days.

    Raises:
        DataError: the formula's predictor or the rows lack the column.
    """
    expect_in_predictor(form, column, name)
    if table is None:
        return form.frame
    frame = as_frame(table)
    expect_columns(frame, [column], name)
    return plain_columns(frame, frame.columns)


def _pairs(
    form: Formula, frame: pd.DataFrame, column: str, between: Sequence[Any] | None
) -> dict[str, tuple[Any, Any]]:
    """What to set the column to before and after the change, by its name."""
    if between is not None:
        if isinstance(between, str) or len(between) != 2:
            raise DataError(f"between: expected two values of {column!r}, got {between!r}")
        first, second = between
        return {f"{second} - {first}": (first, second)}
    if not has_levels(form, column):
        return {"+1": (frame[column], frame[column] + 1)}
    levels = levels_of(form.frame[column])
    return {f"{b} - {levels[0]}": (levels[0], b) for b in levels[1:]}


def slopes(form: Formula, post: "xarray.DataTree", column: str, table: Any = None) -> pd.DataFrame:
    """Average slope of the expected outcome along a column of numbers.

        1/N sum_i d E[y | x_i] / d column

    by differences of 2 `STEP` sds of the column.

    Args:
        form: what `ap.formula` returned.
        post: what `ap.fit` returned of it.
        column: the column.
        table: rows to average over; those fitted by default.

    Raises:
        DataError: there is no such column, or it holds no numbers.

    Example:
        >>> import amortppl as ap, pandas as pd
        >>> table = pd.DataFrame({"x": range(8), "y": [0.1, 1.2, 1.9, 3.1, 4.0, 5.2, 5.8, 7.1]})
        >>> form = ap.formula("y ~ x", table)
        >>> post = ap.fit(form)
        >>> ap.slopes(form, post, "x")["mean"].round(1).tolist()
        [1.0]
    """
    frame = _rows(form, table, column, "slopes")
    if has_levels(form, column):
        raise DataError(f"slopes: {column!r} holds levels; ask for comparisons")
    values = frame[column].astype(float)
    step = max(STEP * float(values.std(ddof=0)), 1e-12)
    change = _change(form, post, frame, column, (values - step, values + step))
    return _summary(change[:, None] / (2 * step), [column], form)


def _change(
    form: Formula, post: "xarray.DataTree", frame: pd.DataFrame, column: str, pair: tuple[Any, Any]
) -> np.ndarray:
    """The mean over rows of the change, by draw, (S,) or (S, K)."""
    before, after = (
        expect_outcome(form, post, frame.assign(**{column: value})).astype(float) for value in pair
    )
    return (after - before).mean(1)


def _summary(draws: np.ndarray, labels: list[Any], form: Formula) -> pd.DataFrame:
    """Mean, sd and interval of draws (S, N), or (S, N, K) with a row for each level."""
    index: Any = labels
    if draws.ndim == 3:
        index = pd.MultiIndex.from_product([labels, form.outcome.levels], names=["row", "level"])
    flat = draws.reshape(len(draws), -1).astype(float)
    low, high = np.quantile(flat, TAILS, axis=0)
    ends = [f"{100 * t:.3g}%" for t in TAILS]
    columns = {"mean": flat.mean(0), "sd": flat.std(0, ddof=1), ends[0]: low, ends[1]: high}
    return pd.DataFrame(columns, index=index)
