"""Which kind of source a user's data are."""

import glob
import os
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
        return _files(expand(data), size, shard)
    if isinstance(data, list | tuple) and data and all(isinstance(d, str | Path) for d in data):
        return _files(_distinct([p for d in data for p in expand(d)]), size, shard)
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


def expand(path: str | Path) -> list[Path]:
    """The files of a path: itself, what matches a pattern, or the Parquet files of a folder, by
    name. A file that is reached over several links is one.
    """
    try:
        if Path(path).is_file():
            return [Path(path)]
        if Path(path).is_dir():
            return _distinct(_folder(Path(path)))
        paths = sorted(p for p in map(Path, _matches(str(path))) if p.is_file())
    except (OSError, ValueError) as error:  # a name too long, or with a null byte
        raise DataError(f"batches: {str(path)[:80]!r} cannot be a path ({error})") from error
    if not paths:
        kind = "files match" if glob.has_magic(str(path)) else "file or folder"
        raise DataError(f"batches: no {kind} {str(path)!r} (in {Path.cwd()})")
    return _distinct(paths)


def _matches(pattern: str) -> list[str]:
    """As `glob.glob`, where `**` enters every folder once, however folders are linked."""
    before, wild, after = pattern.partition("**/")
    if not wild:
        return glob.glob(pattern)
    matches, seen = [], set()
    for top in glob.glob(before) if before else ["."]:
        for folder, below, _ in os.walk(top, followlinks=True):
            real = os.path.realpath(folder)
            below[:] = [] if real in seen else sorted(b for b in below if not b.startswith("."))
            if real not in seen:
                matches += _matches(os.path.join(glob.escape(folder), after))
            seen.add(real)
    return matches


def _distinct(paths: list[Path]) -> list[Path]:
    """Each file once."""
    files = {}
    for path in paths:
        about = path.stat()
        files.setdefault((about.st_dev, about.st_ino), path)
    return list(files.values())


def _folder(folder: Path) -> list[Path]:
    files = sorted(
        p for p in folder.iterdir() if is_parquet(p) and not p.name.startswith((".", "_"))
    )
    if not files:
        there = sorted(p.name for p in folder.iterdir())
        raise DataError(
            f"batches: the folder {folder} has no Parquet files (it has {quoted(there[:5])}); give "
            f"a pattern such as "
            f"'{folder}/*.csv' for others"
        )
    return files


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name."""
    return path.suffix.lower() in PARQUET


def is_delimited(path: Path) -> bool:
    """Whether a file is CSV or TSV by its name; a further suffix may tell a compression."""
    return any(s.lower() in DELIMITED for s in path.suffixes)


def _files(paths: list[Path], size: int, shard: tuple[int, int]) -> Source:
    if all(map(is_parquet, paths)):
        from amortppl.data.sources.parquet_files import Parquet

        return Parquet(paths, shard, _chunk(size))
    if all(map(is_delimited, paths)):
        from amortppl.data.sources.csv_files import Delimited

        return Delimited(paths, shard)
    odd = next((p for p in paths if not is_parquet(p) and not is_delimited(p)), None)
    raise DataError(
        f"batches: {odd} should end in one of {quoted((*PARQUET, *DELIMITED))}"
        if odd
        else "batches: a list of paths should be of Parquet files only, or of CSV and TSV files "
        "only"
    )
