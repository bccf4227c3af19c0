"""The labels of rows, which say what group each belongs to, as one pandas Series."""

from typing import Any

import numpy as np
import pandas as pd

from amortppl.errors import DataError


def plain(value: Any) -> Any:
    """A scalar of NumPy as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def one_label_each(values: Any, name: str) -> pd.Series:
    """Labels as a series.

    Raises:
        DataError: there are none, several for a row, or some that are no single text or number.
    """
    if not isinstance(values, list | tuple):
        if np.ndim(values) == 2 and np.shape(values)[1] == 1:
            values = np.asarray(values)[:, 0]
        if np.ndim(values) != 1:
            raise DataError(
                f"data: {name!r} should hold a label for each row, one axis, got shape "
                f"{np.shape(values)}"
            )
    series = pd.Series(values)
    if not len(series):
        raise DataError(f"data: {name!r} should hold a label for each row, got none")
    odd = _first_odd(series)
    if odd is not None:
        raise DataError(
            f"data: {name!r} holds {series.iloc[odd]!r} at row {odd}; a label is text, a whole "
            "number or a category. Make text of it, such as 'north 3' of ('north', 3)"
        )
    return series


def _first_odd(series: pd.Series) -> int | None:
    """The first row whose label is of several parts, bytes or complex."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return None if _first_odd(series.cat.categories.to_series()) is None else 0
    if series.dtype.kind in "Sc":
        return 0
    if series.dtype != object:
        return None
    kinds = list | tuple | dict | set | bytes | complex | np.ndarray
    return next((i for i, v in enumerate(series) if isinstance(v, kinds)), None)


def whole_numbers(series: pd.Series, name: str) -> pd.Series:
    """Labels that are decimals as whole numbers.

    Raises:
        DataError: one is none.
    """
    if series.dtype.kind != "f":
        return series
    whole = np.asarray(series == np.round(series)) & np.isfinite(np.asarray(series, float))
    if not whole.all():
        row = int((~whole).argmax())
        raise DataError(
            f"data: {name!r} says which group each row belongs to, by text, whole numbers or "
            f"categories; got {series.iloc[row]} at row {row}"
        )
    return series.astype(np.int64)


def sorted_labels(series: pd.Series, name: str) -> pd.Index:
    """The labels that occur, in order.

    Raises:
        DataError: they have none.
    """
    try:
        return pd.Index(series.unique()).sort_values()
    except TypeError as error:
        raise DataError(
            f"data: the labels in {name!r} are of unlike types and have no order ({error}); make "
            "all of them text"
        ) from error
