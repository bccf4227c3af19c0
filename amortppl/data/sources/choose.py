"""Which kind of source a user's data are."""

import glob
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.chunks import Source
from amortppl.errors import DataError, quoted

PARQUET = (".parquet", ".pq", ".parq")
DELIMITED = (".csv", ".tsv")


def choose(data: Any, size: int, shard: tuple[int, int]) -> Source:
    """The source of a user's data.

    Args:
        data: a dict of arrays, a DataFrame, a path or a list of paths, or an iterable of tables.
        size: rows in a mini-batch.
        shard: the share (index, count).

    Raises:
        DataError: there is no such source, or it cannot be read.
    """
    if isinstance(data, str | Path):
        return _files(_expand(data), size, shard)
    if isinstance(data, list | tuple) and data and all(isinstance(d, str | Path) for d in data):
        return _files([p for d in data for p in _expand(d)], size, shard)
    if isinstance(data, Mapping | pd.DataFrame):
        from amortppl.data.sources.memory import Memory

        return Memory(data, shard, _chunk(size))
    if isinstance(data, Iterable) and not isinstance(data, np.ndarray | bytes):
        from amortppl.data.sources.iterables import Tables

        return Tables(data, shard)
    raise DataError(
        "batches: expected a dict of arrays, a DataFrame, a path or a list of paths, or an "
        "iterable of dicts or "
        f"DataFrames, got {type(data).__name__}"
    )


def _chunk(size: int) -> int:
    """Rows to read at a time: some mini-batches."""
    return min(max(16 * size, 1 << 14), 1 << 16)


def _expand(path: str | Path) -> list[Path]:
    """The files of a path: itself, what matches a pattern, or the Parquet files of a folder, by
    name.
    """
    if Path(path).is_file():
        return [Path(path)]
    if Path(path).is_dir():
        return _folder(Path(path))
    found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
    if not found:
        kind = "files match" if glob.has_magic(str(path)) else "file or folder"
        raise DataError(f"batches: no {kind} {str(path)!r} (in {Path.cwd()})")
    return found


def _folder(folder: Path) -> list[Path]:
    found = sorted(
        p for p in folder.iterdir() if p.suffix in PARQUET and not p.name.startswith((".", "_"))
    )
    if not found:
        there = sorted(p.name for p in folder.iterdir())
        raise DataError(
            f"batches: the folder {folder} has no Parquet files (it has {quoted(there[:5])}); give "
            f"a pattern such as "
            f"'{folder}/*.csv' for others"
        )
    return found


def _files(paths: list[Path], size: int, shard: tuple[int, int]) -> Source:
    if all(p.suffix in PARQUET for p in paths):
        from amortppl.data.sources.parquet_files import Parquet

        return Parquet(paths, shard, _chunk(size))
    if all(any(s in DELIMITED for s in p.suffixes) for p in paths):
        from amortppl.data.sources.csv_files import Delimited

        return Delimited(paths, shard)
    odd = next(
        (p for p in paths if p.suffix not in PARQUET and not set(p.suffixes) & set(DELIMITED)), None
    )
    raise DataError(
        f"batches: {odd} should end in one of {quoted((*PARQUET, *DELIMITED))}"
        if odd
        else "batches: a list of paths should be of Parquet files only, or of CSV and TSV files "
        "only"
    )
