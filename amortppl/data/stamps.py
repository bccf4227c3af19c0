"""Time stamps of a series: they must rise, each once."""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.chunks import Piece
from amortppl.data.stamp_gaps import tell_gaps
from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask

TIMES = (pd.DatetimeIndex, pd.PeriodIndex, pd.TimedeltaIndex)

DATE = re.compile(r"\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4}")
"""How the text of an index begins that is taken for dates."""

OFFSET = re.compile(r"[T ]\d\d.*(Z|[+-]\d\d(:?\d\d)?)$")
"""How text ends that has a time of day and a time zone."""


def expect_stamps(task: AbstractTask, data: Any, after: Any = None, first: int = 0) -> Any:
    """Checks the time stamps of a series, and returns the data without them.

    They are in the column or entry that `Task(..., ordered="name")` names, or else in the index of
    a DataFrame or Series, where that is of times or of dates as text, or of numbers that do not
    rise, as of rows that were shuffled; or in the columns of times of a DataFrame, one of which has
    to rise. Text is read by ISO 8601.

    Args:
        task: whose rows may follow one another.
        data: a table or a dict of arrays.
        after: the time stamp of the row before them, if there is one.
        first: how many rows came before them.

    Raises:
        DataError: they are missing, come twice, are not in order, or are text in another form than
            ISO 8601; it names the first row.

    Warns:
        OutOfRangeWarning: a regular series has a hole.
    """
    if not task.ordered:
        return data
    if not task.stamps:
        found = _indices_read(indices(data), first)
        for name, index in found or _time_columns(data):
            expect_rising(name, index, after, first)
            tell_gaps(name, index, first)
        return data
    if not isinstance(data, pd.DataFrame | Mapping):
        return data
    if task.stamps not in data:
        raise DataError(
            f"data: {task.name} was made with ordered={task.stamps!r}, so the data should have "
            f"their time stamps as {task.stamps!r}; they have {', '.join(map(repr, data))}"
        )
    named = _named(task, data, first)
    expect_rising(repr(task.stamps), named, after, first)
    tell_gaps(repr(task.stamps), named, first)
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


def stamps_of(task: AbstractTask, piece: Piece, first: int = 0) -> list[tuple[str, pd.Index]]:
    """What to call the time stamps of a source's rows, and these; none of rows in no order."""
    if not task.ordered:
        return []
    if not task.stamps:
        return _indices_read(piece.indices.items(), first)
    if task.stamps not in piece.columns:
        return []
    return [(repr(task.stamps), _named(task, piece.columns, first))]


def _stamps(task: AbstractTask, data: Any) -> list[pd.Index]:
    """The time stamps that data have."""
    if not task.stamps:
        return [index for _, index in _indices_read(indices(data))]
    if not isinstance(data, pd.DataFrame | Mapping) or task.stamps not in data:
        return []
    return [_named(task, data)]


def _indices_read(
    named: Iterable[tuple[str, pd.Index]], first: int = 0
) -> list[tuple[str, pd.Index]]:
    """What to call the time stamps of indices, and these."""
    names = [(f"the index of {n}", index) for n, index in named]
    return [(name, _read(name, index, first)) for name, index in names]


def _named(task: AbstractTask, columns: Any, first: int = 0) -> pd.Index:
    """The time stamps in the column that the task names."""
    return _read(repr(task.stamps), pd.Index(np.asarray(columns[task.stamps])), first)


def _read(name: str, stamps: pd.Index, first: int = 0) -> pd.Index:
    """Text read as times by ISO 8601; as text, 9/1/2020 comes after 10/1/2020.

    Raises:
        DataError: text in another form, whose day may be its month; it names the first row.
    """
    if pd.api.types.infer_dtype(stamps, skipna=True) != "string":
        return stamps
    known = stamps[~stamps.isna()]
    aware = all(OFFSET.search(text) for text in known)
    try:
        return pd.to_datetime(stamps, format="ISO8601", utc=aware)
    except ValueError as error:
        read = pd.to_datetime(known, format="ISO8601", errors="coerce", utc=True)
        if not read.isna().any():
            raise _unlike(name, known) from error
        text = known[int(np.flatnonzero(read.isna())[0])]
        row = first + int(np.flatnonzero(stamps == text)[0])
        raise DataError(
            f"data: the time stamps in {name} are text, and row {row} ({text!r}) is not in the "
            "form of ISO 8601 (2020-09-01, 2020-09-01T12:00), so that their order is not known. "
            "Make them times, as by pandas.to_datetime(..., format='%d/%m/%Y'), or numbers"
        ) from error


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
            "rows by time, or leave the time stamps out where these are no times of the rows "
            "(reset_index(drop=True)); several series in one table are several datasets (a list)"
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
    """The indices of times, of dates as text, or of numbers that do not rise, of tables in the
    data.
    """
    tables = {"the table": data} if isinstance(data, pd.DataFrame) else data
    if not isinstance(tables, Mapping):
        return []
    return [
        (n if n == "the table" else repr(n), v.index)
        for n, v in tables.items()
        if isinstance(v, pd.DataFrame | pd.Series) and _of_times(v.index)
    ]


def _of_times(index: pd.Index) -> bool:
    if pd.api.types.is_numeric_dtype(index.dtype):
        return not index.is_monotonic_increasing or not index.is_unique
    return isinstance(index, TIMES) or bool(
        len(index) and isinstance(index[0], str) and DATE.match(index[0])
    )


def _time_columns(data: Any) -> list[tuple[str, pd.Index]]:
    """The first column of times of a table that rises, or else the first one."""
    if not isinstance(data, pd.DataFrame):
        return []
    kinds = data.select_dtypes(["datetime", "datetimetz"]).columns
    columns = [(repr(n), pd.Index(data[n])) for n in kinds]
    rising = [c for c in columns if c[1].is_monotonic_increasing and c[1].is_unique]
    return (rising or columns)[:1]


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
