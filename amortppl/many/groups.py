"""A table in long form -> datasets: a row is an observation, a column names its dataset.

    patient  x     y
    17       0.3   1.2
    17      -0.1   0.4
    18       0.8   2.0

The rows of a dataset follow one another; a table in memory is sorted so that they do. Files are
read a block at a time and checked a block at a time, so that memory does not grow with their rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.data.block_checks import Checked
from amortppl.data.chunks import Piece, cut, join, steady
from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.data.sources.choose import choose
from amortppl.errors import DataError, nearest, quoted
from amortppl.task.abstract import AbstractTask

ROWS = 1 << 14
"""Rows that are read and checked at once."""


class Group(NamedTuple):
    """A dataset and its name, the value of the column that tells datasets apart."""

    name: Any
    dataset: Dataset


def read_groups(
    task: AbstractTask, table: Any, by: str, columns: Columns | None = None
) -> Iterator[Group]:
    """The datasets of a table in long form, in their order.

    Args:
        task: says which arguments there are, of what shape, type and support.
        table: a DataFrame, files as `amortppl.batches` takes them, or an iterable of DataFrames.
        by: the column that names the dataset of each row.
        columns: the column or columns of each argument.

    Raises:
        DataError: there is no such column, a name is missing, the rows of a dataset do not follow
            one another, or values do not fit the task; naming the place.
    """
    names, table = _peek(table) if is_several(table) else (None, table)
    source = choose(_sort(table, by) if isinstance(table, pd.DataFrame) else table, ROWS, (0, 1))
    if names is None and not source.table:
        raise DataError("data: expected a DataFrame or files with columns, so that one names them")
    names = names or list(source.names or ())
    _expect_column(by, names)
    checked = Checked(task, columns or {}, ROWS)
    picks = checked.picks([n for n in names if n != by], True)
    wanted = list(dict.fromkeys([by, *(c for each in picks.values() for c in each)]))
    pieces = (_only(p, wanted) for p in cut(steady(source.pieces(wanted, 0, None)), ROWS))
    whole = _split(_one_place_each(_runs(pieces, by), by), by)
    make = _read_block if task.block else _read_rows
    yield from make(checked, picks, whole)


def is_several(table: Any) -> bool:
    """Whether it is an iterable of tables, not one table or files.

    >>> is_several(pd.DataFrame()), is_several("rows.csv"), is_several(iter([pd.DataFrame()]))
    (False, False, True)
    """
    if isinstance(table, str | Path | pd.DataFrame | Mapping) or not isinstance(table, Iterable):
        return False
    return not (isinstance(table, list | tuple) and all(isinstance(t, str | Path) for t in table))


def _peek(tables: Iterable[Any]) -> tuple[list[str], Iterator[Any]]:
    """Names of the columns of the first of several tables, and all of them."""
    rest = iter(tables)
    first = next(rest, None)
    if not isinstance(first, pd.DataFrame):
        what = "an empty one" if first is None else f"one of {type(first).__name__}"
        raise DataError(f"data: expected a DataFrame, files or an iterable of these, got {what}")
    return [str(n) for n in first.columns], chain([first], rest)


def count_rows(table: Any) -> int | None:
    """Rows of a table or of files, where they are known without reading them."""
    return choose(table, ROWS, (0, 1)).rows


def _expect_column(by: str, names: list[str]) -> None:
    if by not in names:
        raise DataError(f"by: no column {by!r} (columns: {quoted(names)}){nearest(by, names)}")


def _only(piece: Piece, wanted: list[str]) -> Piece:
    return Piece(
        {n: piece.columns[n] for n in wanted},
        piece.rows,
        piece.origin,
        piece.unit,
        piece.first,
        piece.table,
    )


def _sort(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """The frame with the rows of each dataset together, datasets in the order of their first."""
    _expect_column(by, list(map(str, frame.columns)))
    names = frame[by].to_numpy()
    if pd.isna(names).any() or not len(names):
        return frame
    changes = 1 + int(np.sum(names[1:] != names[:-1]))
    places, distinct = pd.factorize(names)
    return frame if changes == len(distinct) else frame.iloc[np.argsort(places, kind="stable")]


class _Run(NamedTuple):
    """Rows of a piece that follow one another and have one name."""

    name: Any
    piece: Piece


def _runs(pieces: Iterable[Piece], by: str) -> Iterator[list[_Run]]:
    """The runs of each piece."""
    for piece in pieces:
        names = piece.columns[by]
        missing = np.nonzero(pd.isna(names))[0]
        if len(missing):
            raise DataError(f"by: {by!r} is missing at {piece.place(int(missing[0]))}")
        starts = np.nonzero(np.r_[True, names[1:] != names[:-1]])[0]
        stops = np.r_[starts[1:], piece.rows]
        yield [
            _Run(
                names[a].item() if isinstance(names[a], np.generic) else names[a], piece.part(a, b)
            )
            for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
        ]


def _one_place_each(blocks: Iterable[list[_Run]], by: str) -> Iterator[list[_Run]]:
    """Refuses a name that comes again after others."""
    ended: set[Any] = set()
    last: Any = None
    for runs in blocks:
        for run in runs:
            if run.name != last:
                if run.name in ended:
                    raise DataError(
                        f"by: the rows with {by} {run.name!r} do not follow one another: they come "
                        f"again at {run.piece.place(0)}. Sort the file by {by!r}, or read it into "
                        "a DataFrame, which is sorted here"
                    )
                ended.add(run.name)
                last = run.name
        yield runs


def _split(blocks: Iterable[list[_Run]], by: str) -> Iterator[list[_Run]]:
    """Blocks of whole datasets: a run that the next block goes on with waits for it."""
    held: list[_Run] = []
    for runs in blocks:
        if held and runs[0].name == held[-1].name:
            held[-1] = _Run(held[-1].name, join([held[-1].piece, runs[0].piece]))
            runs = runs[1:]
        whole = [*held, *runs]
        held = whole[-1:]
        if whole[:-1]:
            yield whole[:-1]
    if held:
        yield held


def _read_rows(
    checked: Checked, picks: dict[str, list[str]], blocks: Iterable[list[_Run]]
) -> Iterator[Group]:
    """Datasets of exchangeable rows: checked together, then cut apart."""
    for runs in blocks:
        piece = join([r.piece for r in runs])
        arrays = checked.arrays(piece)
        given = {n: _as_given(piece, c, arrays[n]) for n, c in picks.items()}
        ends = np.cumsum([r.piece.rows for r in runs]).tolist()
        for run, start, stop in zip(runs, [0, *ends], ends, strict=False):
            rows = slice(start, stop)
            data, wide = ({n: v[rows] for n, v in each.items()} for each in (arrays, given))
            yield Group(run.name, Dataset(data, picks, wide))


def _as_given(piece: Piece, picked: list[str], like: np.ndarray) -> np.ndarray:
    """The numbers of an argument as they came."""
    return np.column_stack([piece.columns[c] for c in picked]).reshape(like.shape)


def _read_block(
    checked: Checked, picks: dict[str, list[str]], blocks: Iterable[list[_Run]]
) -> Iterator[Group]:
    """Datasets of fixed size, each checked as a whole."""
    for runs in blocks:
        for run in runs:
            frame = pd.DataFrame({n: v for n, v in run.piece.columns.items()})
            try:
                yield Group(run.name, read(checked.task, frame, picks))
            except DataError as error:
                raise DataError(f"dataset {run.name!r} ({run.piece.place(0)}): {error}") from error
