"""Stored simulations as arrays by name: from arrays, DataFrames, Parquet, and our own folders.

What is larger than `IN_MEMORY` is copied once into files that the system maps into memory, so that
any row can be read at any time.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from amortppl.errors import DataError, nearest, quoted
from amortppl.simulators.store import Shapes, Store, read_about

IN_MEMORY = 1 << 30
"""Bytes of a table up to which it is held in memory."""

ROWS = 1 << 16
"""Rows read at a time."""

Columns = Mapping[str, str | Sequence[str]]


class Table(NamedTuple):
    """M simulations.

    Attributes:
        latents: (M, ...) by name.
        data: (M, ...) by name.
        folder: holds files that are mapped into memory, and is deleted with the last reference.
    """

    latents: dict[str, np.ndarray]
    data: dict[str, np.ndarray]
    folder: Any = None


def read_store(store: Store) -> Table:
    """The simulations of a store that did not fail."""
    return _read_parts(store.parts(), store.latents, store.shapes or {})


def read_folder(path: str | Path) -> Table:
    """The simulations in a folder that `Task.from_simulator` wrote, but for those that failed."""
    latents, data = read_about(Path(path))
    return _read_parts(sorted(Path(path).glob("part-*.parquet")), latents, data)


def read_arrays(latents: Mapping[str, Any], data: Mapping[str, Any]) -> Table:
    """Simulations from arrays (M, ...) by name; those mapped into memory stay there.

    Raises:
        DataError: no numbers, or unequal numbers of simulations.
    """
    table = Table(*({n: _array(n, v) for n, v in side.items()} for side in (latents, data)))
    counts = {n: len(v) for n, v in (table.latents | table.data).items()}
    if len(set(counts.values())) > 1:
        raise DataError(
            "simulations: expected the same number of simulations, the first axis, in every "
            f"array, got {counts}"
        )
    return table


def read_columns(table: Any, latents: Columns, data: Columns) -> Table:
    """Simulations from columns of a DataFrame, a Parquet file or a folder of these.

    Args:
        table: the DataFrame, of pandas, polars or Arrow, or the path.
        latents, data: for each name its column, or its columns one beside another. A column of
            lists of one length is an array of that many numbers.

    Raises:
        DataError: no such column, no numbers in it, or one that is a latent and in the data.
    """
    if isinstance(table, pd.DataFrame):
        _expect_columns(list(map(str, table.columns)), latents, data)
        place = {str(c): i for i, c in enumerate(table.columns)}
        one = lambda c: _listed(c, table.iloc[:, place[c]].to_numpy())  # noqa: E731
        join = lambda c: one(c) if isinstance(c, str) else np.stack([one(k) for k in c], 1)  # noqa: E731
        return read_arrays(*({n: join(c) for n, c in side.items()} for side in (latents, data)))
    arrow = not isinstance(table, pa.Table) and hasattr(table, "__arrow_c_stream__")
    source = _dataset([pa.table(table) if arrow else table])
    _expect_columns(source.schema.names, latents, data)
    return _read(source, latents, data)


def _read_parts(parts: Sequence[Any], latents: Shapes, data: Shapes) -> Table:
    if not parts:
        none = np.zeros(0, np.float32)
        return Table(dict.fromkeys(latents, none), dict.fromkeys(data, none))
    source = _dataset(parts).filter(ds.field("failure").is_null())
    table = _read(source, {n: f"theta.{n}" for n in latents}, {n: f"x.{n}" for n in data})
    # Workers end in any order; by number, a run is the same with any number of them.
    by_number = np.argsort(source.to_table(["simulation"])["simulation"].to_numpy())
    order = slice(None) if table.folder else by_number
    shaped = [
        {n: v[order].reshape(len(v), *shapes[n]) for n, v in side.items()}
        for side, shapes in ((table.latents, latents), (table.data, data))
    ]
    return Table(*shaped, table.folder)


def _dataset(sources: Sequence[Any]) -> ds.Dataset:
    if isinstance(sources[0], pa.Table):
        return ds.dataset(list(sources))
    paths = [str(s) for s in sources]
    try:
        found = ds.dataset(paths[0] if len(paths) == 1 else paths, format="parquet")
    except (OSError, pa.ArrowInvalid, TypeError) as error:
        raise DataError(
            f"table: expected a DataFrame, a Parquet file or a folder of them, got "
            f"{paths[0][:200]!r} ({str(error)[:200]})"
        ) from error
    if not found.files:
        raise DataError(f"table: expected a folder of Parquet files, and {paths[0]!r} has none")
    return found


def _read(source: ds.Dataset, latents: Columns, data: Columns) -> Table:
    """Columns of all rows, as arrays of 32 bits."""
    columns = latents | dict(data)
    asked = list(dict.fromkeys(c for v in columns.values() for c in _names(v)))
    rows = source.count_rows()
    first = next(iter(_batches(source.head(1, columns=asked).to_batches(), columns)), None)
    if first is None or not rows:
        raise DataError("table: expected simulations, and it has no rows")
    shapes = {n: v.shape[1:] for n, v in first.items()}
    size = 4 * rows * sum(prod(s) for s in shapes.values())
    folder = tempfile.TemporaryDirectory() if size > IN_MEMORY else None
    arrays = {n: _empty(folder, str(i), (rows, *shapes[n])) for i, n in enumerate(shapes)}
    start = 0
    for batch in _batches(source.to_batches(columns=asked, batch_size=ROWS), columns):
        stop = start + len(next(iter(batch.values())))
        for name, values in batch.items():
            if values.shape[1:] != shapes[name]:
                raise DataError(
                    f"table: {name!r} has shape {values.shape[1:]} in a row after {start}, and "
                    f"{shapes[name]} in the first"
                )
            arrays[name][start:stop] = values
        start = stop
    return Table({n: arrays[n] for n in latents}, {n: arrays[n] for n in data}, folder)


def _batches(batches: Any, columns: Columns) -> Iterator[dict[str, np.ndarray]]:
    for batch in batches:
        if batch.num_rows:
            read = {c: _numbers(c, batch.column(c)) for v in columns.values() for c in _names(v)}
            yield {
                n: read[c] if isinstance(c, str) else np.stack([read[k] for k in c], 1)
                for n, c in columns.items()
            }


def _numbers(name: str, column: pa.Array) -> np.ndarray:
    """A column of numbers (n,), or of lists of one length (n, L)."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        flat = column.flatten()
        return _numbers(name, flat).reshape(len(column), -1)
    return _array(name, column.to_numpy(zero_copy_only=False))


def _listed(name: str, column: np.ndarray) -> np.ndarray:
    """A column of a DataFrame; one of lists of one length is an array of that many numbers."""
    lists = column.dtype == object and len(column) and isinstance(column[0], list | np.ndarray)
    return _array(name, column.tolist() if lists else column)


def _array(name: str, values: Any) -> np.ndarray:
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except ValueError as error:
        raise DataError(f"simulations: {name!r} should be an array of numbers ({error})") from error
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise DataError(
            f"simulations: {name!r} should be an array of numbers with one simulation after "
            f"another in its first axis, got {array.dtype} of shape {array.shape}"
        )
    return array


def _expect_columns(there: Sequence[str], latents: Columns, data: Columns) -> None:
    asked = [*_flat(latents), *_flat(data)]
    missing = [c for c in asked if c not in there]
    both = [c for c in _flat(latents) if c in _flat(data)]
    if both:
        raise DataError(
            f"table: the column {quoted(both[:1])} is a latent and in the data, so that its "
            "posterior would be that very number; name it on one side"
        )
    twice = [c for c in dict.fromkeys(asked) if list(there).count(c) > 1]
    if twice:
        raise DataError(f"table: it has several columns {quoted(twice)}; rename all but one")
    if missing:
        raise DataError(
            f"table: expected the columns {quoted(asked)}; {quoted(missing)} not among its "
            f"{len(there)} columns {quoted(there[:12])}{nearest(missing[0], there)}"
        )


def _flat(columns: Columns) -> list[str]:
    return [c for v in columns.values() for c in _names(v)]


def _names(columns: str | Sequence[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def _empty(folder: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if folder is None:
        return np.empty(shape, np.float32)
    return np.memmap(Path(folder.name) / name, np.float32, "w+", shape=shape)
