"""Rows of CSV and TSV files, read in chunks by pandas."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.chunks import Piece, drop_columns, expect_same
from amortppl.data.sources.memory import as_piece
from amortppl.errors import DataError

CHUNK = 1 << 15
"""Rows in a chunk. Shares of several processes are made of chunks, so all must use the same."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}


class Delimited:
    """CSV or TSV files one after another.

    Args:
        paths: the files; a further suffix (`.gz`, `.zst`, ...) says that they are compressed.
        shard: the share (index, count): every count-th file when there are so many, else chunk.
    """

    permutes, table, rows = False, True, None

    def __init__(self, paths: list[Path], shard: tuple[int, int]) -> None:
        index, count = shard
        self.paths, self.shard = (
            (paths[index::count], (0, 1)) if len(paths) >= count else (paths, shard)
        )
        self.names: list[str] | None = list(self._read(self.paths[0], nrows=0).columns)

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
            for frame in self._frames(path, wanted):
                if number % count == index:
                    first = int(frame.index[0]) if len(frame) else 0
                    yield as_piece(
                        frame,
                        f"{path} from row {first}",
                        lambda i, p=path, f=first: f"row {f + i} of {p}",
                    )
                number += 1

    def _frames(self, path: Path, wanted: Sequence[str] | None) -> Iterator[pd.DataFrame]:
        expect_same(str(path), wanted or (), list(self._read(path, nrows=0).columns))
        with self._read(path, chunksize=CHUNK, usecols=wanted) as chunks:
            while (frame := _parse(path, lambda: next(chunks, None))) is not None:
                yield frame

    def _read(self, path: Path, **options: Any) -> Any:
        separator = next(SEPARATORS[s] for s in path.suffixes[::-1] if s in SEPARATORS)
        return _parse(path, lambda: pd.read_csv(path, sep=separator, low_memory=False, **options))


def _parse(path: Path, read: Any) -> Any:
    try:
        return read()
    except (
        ValueError,
        EOFError,
        OSError,
    ) as error:  # pandas' own errors of parsing are ValueErrors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"data: {path} cannot be read as a table ({reason}); was the copy cut short?"
        ) from error
