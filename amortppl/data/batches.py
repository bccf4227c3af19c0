"""Mini-batches of data of any size and from anywhere, read ahead at constant memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from amortppl.data.block_checks import Checked, plain
from amortppl.data.chunks import Piece, Source, cut, drop_columns, shuffle, steady
from amortppl.data.columns import Columns
from amortppl.data.prefetch import prefetch
from amortppl.data.sources.choose import choose
from amortppl.data.sources.identity import FileSeen
from amortppl.data.stamps import expect_rising, stamps_of
from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask

WINDOW = 32
"""Mini-batches among which the rows of a stream are shuffled, at least."""

WINDOW_BYTES = 32 << 20
"""Memory for the rows of a table that are shuffled among one another."""


class Block(NamedTuple):
    """Some mini-batches in a row.

    Attributes:
        arrays: by argument, checked, of the types that the model simulates, rows first.
        start: number in the stream of the first row.
        given: the numbers as they came, by argument, of whatever width; empty where nobody asks.
        stamps: of a series, the time stamps of its rows; None where it has none.
    """

    arrays: dict[str, np.ndarray]
    start: int
    given: Mapping[str, np.ndarray] = MappingProxyType({})
    stamps: pd.Index | None = None


class Batches:
    """Mini-batches of a source; made by `amortppl.batches`.

    Attributes:
        size: rows in a mini-batch.
        columns: the column or columns of each argument.
        chosen: whether its user chose the order of the rows.
        rows: number of rows (of this process's share), when known without reading them.
        name: what it is called in messages and in a state that stops half-way.

    Example:
        >>> import amortppl as ap
        >>> rows = ap.batches({"y": np.arange(10.0)}, size=4, shuffle=None)
        >>> [batch["y"].tolist() for batch in rows]
        [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [8.0, 9.0]]
        >>> task = ap.model("gaussian_mean")
        >>> [block.arrays["y"].shape for block in rows.blocks(task, per_block=2)]
        [(8,), (2,)]
        >>> rows.files()  # they are in memory
        []
        >>> shuffled = ap.batches({"y": np.arange(3.0)})  # the default, of which nobody says so
        >>> next(iter(shuffled.in_order("a task")))["y"].tolist()
        [0.0, 1.0, 2.0]
    """

    def __init__(
        self,
        source: Source,
        size: int,
        columns: Columns,
        shuffle: int | None,
        name: str,
        shard: tuple[int, int] = (0, 1),
        chosen: bool = True,
    ) -> None:
        self.chosen = chosen
        self.source, self.size, self.columns, self.shuffle, self.name = (
            source,
            size,
            columns,
            shuffle,
            name,
        )
        self.rows, self.shard = source.rows, shard

    def in_order(self, name: str) -> "Batches":
        """The same mini-batches in the order of the source, for a series called `name`.

        Raises:
            DataError: the rows are to be shuffled, or are a share of all.
        """
        if (self.shuffle is not None and self.chosen) or self.shard != (0, 1):
            how = f"shuffle={self.shuffle}" if self.shard == (0, 1) else f"shard={self.shard}"
            raise DataError(
                f"batches: the rows of {name} follow one another, so they are read in their order "
                f"and all of them; got {how}. Leave it out"
            )
        plain = self.name.removesuffix(f", shuffled by {self.shuffle}")
        return Batches(self.source, self.size, self.columns, None, plain)

    def files(self) -> list[FileSeen]:
        """The files that the rows come from, as they are now; none for rows in memory."""
        share = "{}/{}".format(*self.shard)
        return [FileSeen.of(p, share) for p in getattr(self.source, "paths", ())]

    def __iter__(self) -> Iterator[Any]:
        """Plain mini-batches of `size` rows (the last may be shorter): dicts of arrays or
        DataFrames, as they came.

        Columns that `columns` gives to an argument are renamed after it, so that `guide.step` finds
        them.
        """
        return prefetch(lambda: map(self._plain, cut(self._pieces(None, 0), self.size)))

    def blocks(
        self,
        task: AbstractTask,
        per_block: int = 16,
        skip: int = 0,
        keep: bool = False,
        after: Any = None,
    ) -> Iterator[Block]:
        """Blocks of `per_block` mini-batches (the last may be shorter), checked against a task.

        Reading, conversion and checks run up to two blocks ahead in a background thread.

        Args:
            task: says which arguments there are, of what shape, type and support.
            skip: rows to pass over, a multiple of `per_block * size`. Row groups of a Parquet file
                that lie among them are not read.
            keep: whether blocks have the numbers as they came, too.
            after: of a series, the time stamp of the row before the first one, if it has one.

        Raises:
            DataError: no rows, a column that is missing or changes, values that are missing,
                infinite or outside their support; naming the file, the row group and the row.
        """
        rows = per_block * self.size
        if task.block:
            raise DataError(
                f"batches: the data of {task.name} are one block of fixed size; give them to infer "
                f"as a whole"
            )
        if per_block < 1 or skip < 0 or skip % rows:
            raise DataError(
                f"batches: skip should be a multiple of per_block * size = {rows} rows, got {skip}"
            )
        if self.rows is not None and skip > self.rows:
            raise DataError(
                f"batches: {skip} rows are to be skipped, but there are {self.rows}; is it the "
                f"same source?"
            )
        checked = Checked(task, self.columns, rows, keep)
        wanted = self._wanted(checked)
        return prefetch(lambda: self._blocks(checked, wanted, skip, after))

    def _blocks(
        self, checked: Checked, wanted: list[str] | None, skip: int, after: Any
    ) -> Iterator[Block]:
        start = skip
        for piece in cut(self._pieces(wanted, skip), checked.rows):
            own = stamps_of(checked.task, piece, start)
            for name, stamps in own:
                expect_rising(name, stamps, after, start)
            first = own[0][1] if own else None
            after = after if first is None else first[-1]
            yield Block(checked.arrays(piece), start, checked.given, first)
            start += piece.rows

    def _wanted(self, checked: Checked) -> list[str] | None:
        """The columns to read, in order, without repeats."""
        if self.source.names is None:
            return None
        picks = checked.picks(self.source.names, bool(self.source.table))
        stamps = [checked.task.stamps] if checked.task.stamps in self.source.names else []
        return list(dict.fromkeys([*(c for each in picks.values() for c in each), *stamps]))

    def _pieces(self, wanted: Sequence[str] | None, skip: int) -> Iterator[Piece]:
        """All pieces after `skip` rows, in their order, with the same columns."""
        window = self._window(wanted)
        mixed = self.shuffle is not None and not self.source.permutes
        before = skip // window * window if mixed else skip
        pieces = steady(self.source.pieces(wanted, before, self.shuffle))
        if mixed:
            pieces = drop_columns(
                shuffle(pieces, window, self.shuffle, before // window), skip - before
            )
        rows = skip
        for piece in pieces:
            rows += piece.rows
            yield piece
        if not rows:
            raise DataError("data: the source has no rows; at least one is needed")

    def _window(self, wanted: Sequence[str] | None) -> int:
        """Rows that are shuffled among one another: as many whole mini-batches as the memory for it
        holds.
        """
        width = 8 * len(wanted or self.source.names or ())
        return self.size * max(WINDOW, WINDOW_BYTES // (width * self.size) if width else 0)

    def _plain(self, piece: Piece) -> Any:
        columns = plain(piece, self.columns)
        index = next(iter(piece.indices.values()), None)
        return pd.DataFrame(columns, index) if piece.table else columns


def batches(
    source: Any,
    size: int = 4096,
    *,
    columns: Columns | None = None,
    shuffle: int | Literal["auto"] | None = "auto",
    shard: tuple[int, int] = (0, 1),
) -> Batches:
    """Mini-batches of data of any size.

    Args:
        source: a dict of arrays by argument, a DataFrame, the path of a Parquet, CSV or TSV file,
            of a folder of Parquet files, or a pattern such as `rows/*.parquet`, a list of paths, or
            an iterable of dicts or DataFrames of any length (its `__next__` runs in another
            thread).
        size: rows in a mini-batch.
        columns: for tables, the column or columns of each argument; by default columns named like
            the argument, or like `argument_0`, `argument_1`, ...
        shuffle: a seed, or None for rows in the order they come; by default 0 for rows at hand (in
            memory and in files), because sorted rows would mislead a posterior that sees them in
            turn, and None for an iterable. Rows in memory are permuted; Parquet is read at sixteen
            places at once and its rows are shuffled within 32 MiB, CSV likewise but file by file,
            iterables among 32 mini-batches. The same seed gives the same order again. Rows that
            follow one another (`Task.ordered`) are not shuffled unless a seed is given, which is an
            error.
        shard: (index, count), this process's share of the rows, as in
            `(jax.process_index(), jax.process_count())`. The shares are disjoint and together
            whole. Of an iterable the share is every count-th table.

    Raises:
        DataError: there is no such source, it cannot be read, or `size` or `shard` is wrong.

    Example:
        >>> import amortppl as ap
        >>> rows = ap.batches({"y": np.arange(10.0)}, size=4)
        >>> rows.rows, sorted(len(batch["y"]) for batch in rows)
        (10, [2, 4, 4])
        >>> ap.batches("rows/*.parquet", columns={"x": ["age", "dose"]})  # doctest: +SKIP
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise DataError(f"batches: size should be a whole number of rows from 1 on, got {size!r}")
    index, count = shard
    if not 0 <= index < count:
        raise DataError(
            f"batches: shard should be (index, count) with 0 <= index < count, got {shard}"
        )
    chosen = choose(source, int(size), (index, count))
    by_user = shuffle != "auto"
    if shuffle == "auto":
        shuffle = None if chosen.names is None else 0
    return Batches(
        chosen,
        int(size),
        dict(columns or {}),
        shuffle,
        _name(source, chosen.rows, shuffle, (index, count)),
        (index, count),
        by_user,
    )


def _name(source: Any, rows: int | None, shuffle: int | None, shard: tuple[int, int]) -> str:
    """The same for the same rows in the same order, as far as that is known without reading
    them.
    """
    kind = str(source) if isinstance(source, str | Path) else type(source).__name__
    parts = [kind] + ([] if rows is None else [f"{rows} rows"])
    parts += [] if shuffle is None else [f"shuffled by {shuffle}"]
    return ", ".join(parts + ([] if shard == (0, 1) else [f"share {shard[0]} of {shard[1]}"]))
