"""Rows of Parquet files, row group by row group, through pyarrow without pandas."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from amortppl.data.chunks import Piece, drop_columns, expect_same
from amortppl.errors import DataError

BUFFER = 1 << 20
"""Bytes read at a time from each column, so that a row group is never in memory as a whole."""

LANES = 16
"""Places that a shuffled stream reads at in turn, so that rows from all over the files lie side by
side.
"""


class Strip(NamedTuple):
    """Rows `start` to `stop` of a row group (a number) of a file (a place in the list)."""

    file: int
    group: int
    start: int
    stop: int
    whole: bool = True

    @property
    def rows(self) -> int:
        """How many."""
        return self.stop - self.start


class Parquet:
    """Parquet files one after another.

    Args:
        paths: the files.
        shard: the share (index, count): every count-th row group when there are so many, else a
            contiguous range of rows.
        chunk: rows in a piece.

    Raises:
        DataError: a file is not whole.
    """

    permutes, table = False, True

    def __init__(self, paths: list[Path], shard: tuple[int, int], chunk: int) -> None:
        self.paths, self.chunk = paths, chunk
        self.metadata = [_metadata(p) for p in paths]
        groups = [
            Strip(f, g, 0, n)
            for f, m in enumerate(self.metadata)
            for g, n in enumerate(_lengths(m))
        ]
        self.strips = _share([s for s in groups if s.rows], *shard)
        self.rows = sum(s.rows for s in self.strips)
        self.names: list[str] | None = _names(self.metadata[0])

    def pieces(self, wanted: Sequence[str] | None, skip: int, seed: int | None) -> Iterator[Piece]:
        """Pieces of the share; row groups of skipped rows alone are not read. A seed mixes the row
        groups.
        """
        if seed is None:
            return self._along(_between(self.strips, skip, self.rows), wanted, self.chunk, BUFFER)
        order = np.random.default_rng(seed).permutation(len(self.strips))
        lanes = [
            [self.strips[i] for i in order[lane::LANES]] for lane in range(min(LANES, len(order)))
        ]
        readers = [
            self._along(lane, wanted, max(self.chunk // LANES, 1024), BUFFER // LANES)
            for lane in lanes
        ]
        return drop_columns(_in_turn(readers), skip)

    def _along(
        self, strips: list[Strip], wanted: Sequence[str] | None, chunk: int, buffer: int
    ) -> Iterator[Piece]:
        for _, run in groupby(strips, key=lambda s: (s.file, s.whole or s)):
            yield from self._read(list(run), wanted, chunk, buffer)

    def _read(
        self, run: list[Strip], wanted: Sequence[str] | None, chunk: int, buffer: int
    ) -> Iterator[Piece]:
        """Whole row groups of one file, or a part of one."""
        path, first, last = self.paths[run[0].file], run[0].start, sum(s.stop for s in run)
        origin, unit, done = _origin(path, run), str(path), 0
        for batch in self._batches(run, wanted, chunk, buffer):
            start, stop = max(first - done, 0), min(last - done, batch.num_rows)
            if start < stop:
                columns = {
                    n: _values(n, c, path)
                    for n, c in zip(batch.schema.names, batch.columns, strict=True)
                }
                yield Piece(columns, batch.num_rows, origin, unit, first=done).part(start, stop)
            done += batch.num_rows
            if done >= last:
                return

    def _batches(
        self, run: list[Strip], wanted: Sequence[str] | None, chunk: int, buffer: int
    ) -> Iterator[pa.RecordBatch]:
        path, metadata = self.paths[run[0].file], self.metadata[run[0].file]
        expect_same(str(path), wanted or (), _names(metadata))
        try:
            with pq.ParquetFile(
                path, metadata=metadata, buffer_size=buffer, pre_buffer=False
            ) as file:
                groups = [s.group for s in run]
                yield from file.iter_batches(
                    chunk, row_groups=groups, columns=wanted and list(wanted)
                )
        except (pa.ArrowException, OSError) as error:
            raise _broken(path, error) from error


def _in_turn(readers: list[Iterator[Piece]]) -> Iterator[Piece]:
    """A piece of each reader in turn, until all are done."""
    while readers:
        for reader in list(readers):
            piece = next(reader, None)
            if piece is None:
                readers.remove(reader)
            else:
                yield piece


def _names(metadata: pq.FileMetaData) -> list[str]:
    return metadata.schema.to_arrow_schema().names


def _lengths(metadata: pq.FileMetaData) -> list[int]:
    """Rows of each row group."""
    return [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(
        f"data: {path} is not a whole Parquet file ({reason}); was the copy cut short?"
    )


def _share(strips: list[Strip], index: int, count: int) -> list[Strip]:
    if len(strips) >= count:
        return strips[index::count]
    rows = sum(s.rows for s in strips)
    return _between(strips, rows * index // count, rows * (index + 1) // count)


def _between(strips: list[Strip], start: int, stop: int) -> list[Strip]:
    """What lies between two rows, counted through all strips."""
    ends = accumulate(s.rows for s in strips)
    cuts = [
        (s, max(start + s.rows - e, 0), min(stop + s.rows - e, s.rows))
        for s, e in zip(strips, ends, strict=True)
    ]
    return [_cut(s, a, b) for s, a, b in cuts if a < b]


def _cut(strip: Strip, start: int, stop: int) -> Strip:
    whole = strip.whole and stop - start == strip.rows
    return strip._replace(start=strip.start + start, stop=strip.start + stop, whole=whole)


def _origin(path: Path, run: list[Strip]) -> Callable[[int], str]:
    """Row number in the row groups of a run -> words."""
    starts = [0, *accumulate(s.stop for s in run)]

    def words(row: int) -> str:
        at = bisect_right(starts, row) - 1
        return f"row {row - starts[at]} of row group {run[at].group} of {path}"

    return words


def _values(name: str, column: pa.Array, path: Path) -> np.ndarray:
    """A column without a copy where that can be; lists of equal lengths become a matrix."""
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        return column.to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if (lengths != lengths[0]).any() or column.null_count:
        raise DataError(f"data: the lists of column {name!r} of {path} should all have one length")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
