"""Rows of any iterable of tables."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from amortppl.data.chunks import Piece, drop_columns
from amortppl.data.sources.memory import as_piece
from amortppl.errors import DataError


class Tables:
    """An iterable of dicts of arrays or DataFrames of any length.

    Args:
        tables: an iterable; an iterator can be passed over once.
        shard: the share (index, count): every count-th table.
    """

    permutes, rows, names, table = False, None, None, None

    def __init__(self, tables: Iterable[Any], shard: tuple[int, int]) -> None:
        self.tables, self.shard, self.used = tables, shard, False

    def pieces(self, wanted: Sequence[str] | None, skip: int, seed: int | None) -> Iterator[Piece]:
        """The tables of the share, those of skipped rows asked for but not looked at."""
        tables = iter(self.tables)
        if tables is self.tables and self.used:
            raise DataError(
                f"data: this {type(tables).__name__} is a one-shot iterator and an earlier pass "
                f"has used it up. Give a "
                "list, or an object whose __iter__ starts anew"
            )
        self.used = True
        index, count = self.shard
        shares = islice(enumerate(tables), index, None, count)
        return drop_columns((as_piece(t, f"table {i}", _origin(i)) for i, t in shares), skip)


def _origin(number: int) -> Any:
    return lambda row: f"row {row} of table {number}"
