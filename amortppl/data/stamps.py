"""Time stamps of a series: they must rise, each once."""

from collections.abc import Mapping
from datetime import date
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.chunks import Piece
from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask

TIMES = (pd.DatetimeIndex, pd.PeriodIndex, pd.TimedeltaIndex)


def expect_stamps(task: AbstractTask, data: Any, after: Any = None, first: int = 0) -> Any:
    """Checks the time stamps of a series, and returns the data without them.

    They are in the column or entry that `Task(..., ordered="name")` names, or else in the index of
    a DataFrame or Series, where that is of times.

    Args:
        task: whose rows may follow one another.
        data: a table or a dict of arrays.
        after: the time stamp of the row before them, if there is one.
        first: how many rows came before them.

    Raises:
        DataError: they are missing, come twice, or are not in order; it names the first row.
    """
    if not task.ordered:
        return data
    if not task.stamps:
        for name, index in indices(data):
            expect_rising(f"the index of {name}", index, after, first)
        return data
    if not isinstance(data, pd.DataFrame | Mapping):
        return data
    if task.stamps not in data:
        raise DataError(
            f"data: {task.name} was made with ordered={task.stamps!r}, so the data should have "
            f"their time stamps as {task.stamps!r}; they have {', '.join(map(repr, data))}"
        )
    expect_rising(repr(task.stamps), pd.Index(np.asarray(data[task.stamps])), after, first)
    return data if task.stamps in task.arguments else _without(data, task.stamps)


def expect_later(task: AbstractTask, seen: Any, coming: Any) -> None:
    """Refuses inputs of future rows whose time stamps, where they have some, do not go on from
    those of the rows seen.

    Raises:
        DataError: they do not rise, or do not begin after the last row seen.
    """
    if not task.ordered:
        return
    before = last_stamp(task, seen)
    for index in _stamps(task, coming):
        expect_rising("at, which goes on from the data,", index, before)


def last_stamp(task: AbstractTask, data: Any) -> Any:
    """The time stamp of the last row of data or of a state; None where they have none."""
    if not isinstance(data, pd.DataFrame | Mapping):
        return getattr(data, "stamp", None)
    return next((index[-1] for index in _stamps(task, data) if len(index)), None)


def stamps_of(task: AbstractTask, piece: Piece) -> list[tuple[str, pd.Index]]:
    """What to call the time stamps of a source's rows, and these; none of rows in no order."""
    if not task.ordered:
        return []
    if not task.stamps:
        return [(f"the index of {n}", index) for n, index in piece.indices.items()]
    if task.stamps not in piece.columns:
        return []
    return [(repr(task.stamps), pd.Index(np.asarray(piece.columns[task.stamps])))]


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
        DataError: one is missing, comes twice, or is earlier than the one before it; or they are
            of unlike kinds.
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
    try:
        falls = ~(values[1:] > values[:-1])
    except (TypeError, ValueError) as error:
        raise _unlike(name, stamps) from error
    row = int(np.flatnonzero(falls)[0]) + 1
    here, before = stamps[row], stamps[row - 1]
    if row == 1 and after is not None:
        raise DataError(
            f"data: the time stamps in {name} should go on rising, and row {first + 1} ({here}) is "
            f"not later than the last row before it ({before}), of the rows seen earlier. Give all "
            "rows in the order of time, each once; another series begins with a new state"
        )
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


def _unlike(name: str, stamps: pd.Index) -> DataError:
    """The error of time stamps that cannot be compared: dates and words, or with and without a
    time zone.
    """
    kinds = list(dict.fromkeys(f"{s!r}" for s in (stamps[0], stamps[-1])))
    return DataError(
        f"data: the time stamps in {name} cannot be compared with one another: "
        f"{' and '.join(kinds)}. Make all of them one type, as by pandas.to_datetime"
    )


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


def written(stamp: Any) -> list[str] | None:
    """A time stamp as words that JSON holds: its kind and its value; None where there is none.

    >>> written(pd.Timestamp("1984-12-31")), restored(written(pd.Period("1984", "Y")))
    (['Timestamp', '1984-12-31T00:00:00'], Period('1984', 'Y-DEC'))
    """
    if stamp is None:
        return None
    if isinstance(stamp, pd.Period):
        return ["Period", str(stamp), stamp.freqstr]
    if isinstance(stamp, pd.Timestamp | pd.Timedelta):
        return [type(stamp).__name__, stamp.isoformat()]
    if isinstance(stamp, date):
        return ["date", stamp.isoformat()]
    return ["number" if isinstance(stamp, Number) else "text", str(stamp)]


def restored(words: list[str] | None) -> Any:
    """The time stamp that `written` wrote.

    Raises:
        ValueError: they are no such words.
    """
    if words is None:
        return None
    kinds = {"Period": pd.Period, "Timestamp": pd.Timestamp, "Timedelta": pd.Timedelta}
    kinds |= {"date": date.fromisoformat}
    kinds |= {"number": lambda v: int(v) if v.lstrip("-").isdigit() else float(v), "text": str}
    kind, *value = words
    return kinds[kind](*value)
