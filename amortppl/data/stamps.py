"""Time stamps of a series: they must rise, each once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask

TIMES = (pd.DatetimeIndex, pd.PeriodIndex, pd.TimedeltaIndex)


def expect_stamps(task: AbstractTask, data: Any) -> Any:
    """Checks the time stamps of a series, and returns the data without them.

    They are in the column or entry that `Task(..., ordered="name")` names, or else in the index of
    a DataFrame or Series, where that is of times.

    Raises:
        DataError: they are missing, come twice, or are not in order; it names the first row.
    """
    if not task.ordered:
        return data
    if not task.stamps:
        for name, index in indices(data):
            expect_rising(f"the index of {name}", index)
        return data
    if not isinstance(data, pd.DataFrame | Mapping):
        return data
    if task.stamps not in data:
        raise DataError(
            f"data: {task.name} was made with ordered={task.stamps!r}, so the data should have "
            f"their time stamps as {task.stamps!r}; they have {', '.join(map(repr, data))}"
        )
    expect_rising(repr(task.stamps), pd.Index(np.asarray(data[task.stamps])))
    return data if task.stamps in task.arguments else _without(data, task.stamps)


def expect_later(task: AbstractTask, seen: Any, coming: Any) -> None:
    """Refuses inputs of future rows whose time stamps, where they have some, do not go on from
    those of the rows seen.

    Raises:
        DataError: they do not rise, or do not begin after the last row seen.
    """
    if not task.ordered:
        return
    before = [index[-1] for index in _stamps(task, seen) if len(index)]
    for index in _stamps(task, coming):
        alike = before and len(index) and isinstance(before[0], type(index[0]))
        expect_rising("at, which goes on from the data,", index, before[0] if alike else None)


def _stamps(task: AbstractTask, data: Any) -> list[pd.Index]:
    """The time stamps that data have."""
    if not task.stamps:
        return [index for _, index in indices(data)]
    if not isinstance(data, pd.DataFrame | Mapping) or task.stamps not in data:
        return []
    return [pd.Index(np.asarray(data[task.stamps]))]


def expect_rising(name: str, stamps: pd.Index, after: Any = None, first: int = 0) -> None:
    """Refuses time stamps that do not rise.

    Args:
        name: what to call them.
        stamps: of some rows.
        after: the stamp of the row before them, if there is one.
        first: the number of the first row.

    Raises:
        DataError: one is missing, comes twice, or is earlier than the one before it.
    """
    missing = np.flatnonzero(stamps.isna())
    if len(missing):
        row = first + int(missing[0])
        raise DataError(f"data: {name} has no time stamp at row {row}; leave out rows without one")
    if after is not None:
        stamps, first = pd.Index([after]).append(stamps), first - 1
    if stamps.is_monotonic_increasing and stamps.is_unique:
        return
    values = stamps.to_numpy()
    row = int(np.flatnonzero(~(values[1:] > values[:-1]))[0]) + 1
    here, before = stamps[row], stamps[row - 1]
    if here == before:
        cause = (
            f"row {first + row} has the time stamp {here} of the row before it. Keep one row a "
            "time: leave out the copies, or take their mean; several series in one table are "
            "several datasets (a list)"
        )
    else:
        cause = (
            f"row {first + row} ({here}) is earlier than the row before it ({before}). Sort the "
            "rows by time; several series in one table are several datasets (a list)"
        )
    raise DataError(f"data: the time stamps in {name} should rise, and {cause}")


def indices(data: Any) -> list[tuple[str, pd.Index]]:
    """The indices of times that tables in the data have."""
    tables = {"the table": data} if isinstance(data, pd.DataFrame) else data
    if not isinstance(tables, Mapping):
        return []
    return [
        (n if n == "the table" else repr(n), v.index)
        for n, v in tables.items()
        if isinstance(v, pd.DataFrame | pd.Series) and isinstance(v.index, TIMES)
    ]


def _without(data: Any, name: str) -> Any:
    if isinstance(data, pd.DataFrame):
        return data.drop(columns=name)
    return {n: v for n, v in data.items() if n != name}
