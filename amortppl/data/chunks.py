"""A piece of a source: some rows, by column, that know where they come from. Every source yields
pieces.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import accumulate
from typing import Protocol

import numpy as np
import pandas as pd

from amortppl.data.checks import first_not_number
from amortppl.errors import DataError, nearest, quoted


@dataclass(frozen=True)
class Piece:
    """Rows of a source.

    Attributes:
        columns: values by column or argument, rows first.
        rows: how many.
        origin: row number in the unit that was read -> words such as `row 3 of rows.csv`.
        unit: words for that unit.
        first: number in the unit of the first row here.
        table: whether it has named columns of numbers, as a DataFrame has; else arrays by argument.
        indices: time stamps of the rows, by the name of the table whose index they are.
    """

    columns: dict[str, np.ndarray]
    rows: int
    origin: Callable[[int], str]
    unit: str
    first: int = 0
    table: bool = True
    indices: dict[str, pd.Index] = field(default_factory=dict)

    def place(self, row: int) -> str:
        """Words for the place of a row."""
        return self.origin(self.first + row)

    def part(self, start: int, stop: int) -> "Piece":
        """Rows start to stop, not copied."""
        columns = {n: v[start:stop] for n, v in self.columns.items()}
        indices = {n: v[start:stop] for n, v in self.indices.items()}
        first = self.first + start
        return replace(self, columns=columns, rows=stop - start, first=first, indices=indices)

    def reordered(self, order: np.ndarray) -> "Piece":
        """The rows in another order."""
        columns, place = (
            {n: v.take(order, axis=0) for n, v in self.columns.items()},
            self.positions(),
        )
        return replace(
            self,
            columns=columns,
            rows=len(order),
            origin=lambda i: place(int(order[i])),
            first=0,
            indices={n: v.take(order) for n, v in self.indices.items()},
        )

    def positions(self) -> Callable[[int], str]:
        """`place` without hold of the values."""
        return replace(self, columns={}).place


class Source(Protocol):
    """Where rows come from; made for one share of them.

    Attributes:
        rows: number of rows of the share, when known without reading.
        names: names of the columns, when known without reading.
        table: whether the pieces are tables of columns, when known without reading.
        permutes: whether `pieces` with a seed permutes all rows; else only the order of what it
            reads.
    """

    rows: int | None
    names: list[str] | None
    table: bool | None
    permutes: bool

    def pieces(self, wanted: Sequence[str] | None, skip: int, seed: int | None) -> Iterator[Piece]:
        """Pieces of the share after its first `skip` rows, with the wanted columns at least."""
        ...


def join(parts: list[Piece]) -> Piece:
    """Pieces in a row as one. A single one is not copied."""
    if len(parts) == 1:
        return parts[0]
    columns = {n: np.concatenate([p.columns[n] for p in parts]) for n in parts[0].columns}
    stamped = [n for n in parts[0].indices if all(n in p.indices for p in parts)]
    indices = {n: reduce(pd.Index.append, (p.indices[n] for p in parts)) for n in stamped}
    starts = [0, *accumulate(p.rows for p in parts)]
    places = [p.positions() for p in parts]

    def origin(row: int) -> str:
        part = bisect_right(starts, row) - 1
        return places[part](row - starts[part])

    whole = {"columns": columns, "rows": starts[-1], "indices": indices}
    return replace(parts[0], **whole, origin=origin, first=0)


def cut(pieces: Iterable[Piece], size: int) -> Iterator[Piece]:
    """Pieces of `size` rows each; the last may be shorter."""
    held: list[Piece] = []
    for piece in pieces:
        missing = size - sum(p.rows for p in held)
        while piece.rows >= missing:
            held.append(piece.part(0, missing))
            piece, missing = piece.part(missing, piece.rows), size
            yield join(_taken(held))
        held += [piece] if piece.rows else []
    if held:
        yield join(_taken(held))


def _taken(held: list[Piece]) -> list[Piece]:
    """What a list holds, which it then holds no longer: no copy of the rows outlives its use."""
    parts = list(held)
    held.clear()
    return parts


def drop_columns(pieces: Iterable[Piece], rows: int) -> Iterator[Piece]:
    """All but the first rows."""
    for piece in pieces:
        if piece.rows > rows:
            yield piece.part(rows, piece.rows) if rows else piece
        rows = max(rows - piece.rows, 0)


def shuffle(pieces: Iterable[Piece], window: int, seed: int, first: int = 0) -> Iterator[Piece]:
    """Permutes the rows within windows, each by its own number, which starts at `first`."""
    for number, piece in enumerate(cut(pieces, window), first):
        piece = piece.reordered(np.random.default_rng((seed, number)).permutation(piece.rows))
        yield piece


def steady(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces, all with the columns of the first.

    Raises:
        DataError: a later piece lacks a column, or has it in another shape or of another kind.
    """
    like: dict[str, np.ndarray] = {}
    for piece in filter(lambda p: p.rows, pieces):
        like = like or {n: np.empty((0, *v.shape[1:]), v.dtype) for n, v in piece.columns.items()}
        expect_same(piece.unit, list(like), list(piece.columns))
        _same_arguments(piece, like)
        for name, values in piece.columns.items():
            _same_kind(piece, name, values, like)
        yield replace(piece, columns={n: piece.columns[n] for n in like})


def expect_same(unit: str, before: Iterable[str], names: list[str]) -> None:
    """Refuses a unit of a source, with columns `names`, that lacks one which was there before.

    Raises:
        DataError: naming the unit, the column and the nearest that is there.
    """
    for lost in before:
        if lost not in names:
            raise DataError(
                f"data: the columns change half-way: {unit} has no {lost!r} (it has "
                f"{quoted(names)}), which was there "
                f"before{nearest(lost, names)}"
            )


def _same_arguments(piece: Piece, like: dict[str, np.ndarray]) -> None:
    new = [n for n in piece.columns if n not in like]
    if new and not piece.table:
        raise DataError(
            f"data: the arguments change half-way: {piece.unit} has {quoted(new)}, not there before"
        )


def _same_kind(piece: Piece, name: str, values: np.ndarray, like: dict[str, np.ndarray]) -> None:
    if name not in like:
        return
    if values.shape[1:] != like[name].shape[1:]:
        raise DataError(
            f"data: {name!r} changes its shape half-way: rows of shape {like[name].shape[1:]} "
            f"before, of "
            f"{values.shape[1:]} in {piece.unit}"
        )
    if like[name].dtype.kind in "biuf" and values.dtype.kind not in "biuf":
        odd = _first_odd(values)
        if odd is not None:
            raise DataError(
                f"data: {name!r} changes its type half-way: {like[name].dtype} before, "
                f"{values[odd]!r} at "
                f"{piece.place(odd)}"
            )


def _first_odd(values: np.ndarray) -> int | None:
    """The first row that is not a number; None when all are, or are missing."""
    return None if values.ndim > 1 else first_not_number(values)
