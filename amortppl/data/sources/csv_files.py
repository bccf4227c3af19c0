"""Rows of CSV and TSV files, a chunk at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from amortppl.data.chunks import Piece, drop_columns, expect_same
from amortppl.data.sources.delimited import read_columns, read_layout

CHUNK = 1 << 15
"""Rows in a chunk. Shares of several processes are made of chunks, so all must use the same."""


class Delimited:
    """CSV or TSV files one after another; see `amortppl.data.sources.delimited` for the rules.

    Args:
        paths: the files.
        shard: the share (index, count): every count-th file when there are so many, else chunk.
    """

    permutes, table, rows = False, True, None

    def __init__(self, paths: list[Path], shard: tuple[int, int]) -> None:
        index, count = shard
        self.paths, self.shard = (
            (paths[index::count], (0, 1)) if len(paths) >= count else (paths, shard)
        )
        self.names: list[str] | None = read_layout(self.paths[0]).names

    def pieces(self, wanted: Sequence[str] | None, skip: int, seed: int | None) -> Iterator[Piece]:
        """The chunks of the share; those of skipped rows are parsed all the same. A seed shuffles
        the files.
        """
        order = (
            range(len(self.paths))
            if seed is None
            else np.random.default_rng(seed).permutation(len(self.paths))
        )
        return drop_columns(self._chunks([self.paths[i] for i in order], wanted), skip)

    def _chunks(self, paths: list[Path], wanted: Sequence[str] | None) -> Iterator[Piece]:
        index, count = self.shard
        number = 0
        for path in paths:
            for piece in _read(path, wanted):
                if number % count == index:
                    yield piece
                number += 1


def _read(path: Path, wanted: Sequence[str] | None) -> Iterator[Piece]:
    layout = read_layout(path)
    expect_same(str(path), wanted or (), layout.names)
    first = 0
    for columns in read_columns(path, layout, wanted, CHUNK):
        rows = len(next(iter(columns.values())))

        def origin(row: int, first: int = first) -> str:
            return f"row {first + row} of {path}"

        yield Piece(columns, rows, origin, f"{path} from row {first}")
        first += rows
