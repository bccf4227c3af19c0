"""The user's table: any kind of data frame as pandas, its columns as numbers or levels."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from amortppl.errors import DataError, nearest, quoted
from amortppl.formula.frames import as_pandas


def as_frame(data: Any) -> pd.DataFrame:
    """A table as a pandas DataFrame: of pandas, of what narwhals knows, or a dict of columns.

    Raises:
        DataError: it is none, is lazy, has no rows, or two columns of one name.
    """
    if isinstance(data, dict):
        data = pd.DataFrame({n: np.asarray(v) for n, v in data.items()})
    data = as_pandas(data)
    if not isinstance(data, pd.DataFrame):
        raise DataError(f"data: expected a table (a DataFrame), got {type(data).__name__}")
    if len(data) == 0:
        raise DataError("data: the table has no rows; at least one is needed")
    names = pd.Index(list(map(str, data.columns)))
    if names.has_duplicates:
        twice = names[names.duplicated()][0]
        raise DataError(f"data: two columns are named {twice!r}; give each its own name")
    return data.set_axis(names, axis=1).reset_index(drop=True)


def expect_columns(frame: pd.DataFrame, names: Iterable[str], where: str) -> None:
    """Refuses names that are no columns.

    Raises:
        DataError: naming the first, and the nearest column.
    """
    for name in names:
        if name not in frame.columns:
            raise DataError(
                f"{where}: no column {name!r} in the data (columns: {quoted(frame.columns)})"
                f"{nearest(name, frame.columns)}"
            )


def plain_columns(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """These columns with plain types: float64, int64, bool, categories, or text; None for missing.

    Dates become days since the first of 1970, so that differences are days.
    """
    return pd.DataFrame({n: plain_column(frame[n]) for n in names}, index=frame.index)


def plain_column(column: pd.Series) -> pd.Series:
    """One column with a plain type; nullable and Arrow types lose their wrapping.

    >>> plain_column(pd.Series([date(1970, 1, 3), None])).tolist()
    [2.0, nan]
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    column = _of_dates(column)
    if types.is_datetime64_any_dtype(column.dtype):
        days = (column.dt.tz_localize(None) if column.dt.tz else column) - pd.Timestamp(0)
        return days / pd.Timedelta(days=1)
    if types.is_timedelta64_dtype(column.dtype):
        return column / pd.Timedelta(days=1)
    missing = column.isna()
    if types.is_bool_dtype(column.dtype) and not missing.any():
        return column.astype(bool)
    if types.is_integer_dtype(column.dtype) and not missing.any():
        return column.astype(np.int64)
    if types.is_numeric_dtype(column.dtype):
        return pd.Series(column.to_numpy(np.float64, na_value=np.nan), column.index)
    return _of_objects(column, missing)


def _of_dates(column: pd.Series) -> pd.Series:
    """Days without a time, and periods by their first moment, as moments; others as they are."""
    if isinstance(column.dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    in_arrow = isinstance(column.dtype, pd.ArrowDtype) and column.dtype.type is date
    if in_arrow or _are_dates(column):
        return pd.to_datetime(column.astype(object), errors="raise")
    return column


def _are_dates(column: pd.Series) -> bool:
    values = column[column.notna()] if types.is_object_dtype(column.dtype) else []
    return len(values) > 0 and all(isinstance(v, date) for v in values)


def _of_objects(column: pd.Series, missing: pd.Series) -> pd.Series:
    """Objects that are all numbers as numbers, else as text."""
    values = column[~missing]
    if len(values) and all(isinstance(v, bool | np.bool_) for v in values) and not missing.any():
        return column.astype(bool)
    if len(values) and all(
        isinstance(v, int | float | np.number | Decimal) and not isinstance(v, bool) for v in values
    ):
        return pd.Series(column.astype(object).where(~missing, np.nan).astype(float), column.index)
    return column.astype(object).map(str).where(~missing, None)
