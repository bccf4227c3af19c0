"""Rows in memory: a dict of arrays, or a DataFrame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.checks import refuse_masked
from amortppl.data.chunks import Piece
from amortppl.data.stamps import indices
from amortppl.errors import DataError


class Memory:
    """One table in memory, permuted fully by a seed.

    Args:
        data: a dict of arrays or a DataFrame.
        shard: the share (index, count): a contiguous range of rows.
        chunk: rows in a piece.
    """

    permutes = True

    def __init__(self, data: Any, shard: tuple[int, int], chunk: int) -> None:
        self.whole, self.chunk = as_piece(data, "the data", "row {}".format), chunk
        index, count = shard
        self.share = range(self.whole.rows * index // count, self.whole.rows * (index + 1) // count)
        self.rows, self.names, self.table = (
            len(self.share),
            list(self.whole.columns),
            self.whole.table,
        )

    def pieces(self, wanted: Sequence[str] | None, skip: int, seed: int | None) -> Iterator[Piece]:
        """Slices of the share, or of its permutation."""
        columns = {n: v for n, v in self.whole.columns.items() if wanted is None or n in wanted}
        whole = replace(self.whole, columns=columns)
        order = None if seed is None else self._permuted(seed)
        for start in range(skip, self.rows, self.chunk):
            stop = min(start + self.chunk, self.rows)
            if order is None:
                yield whole.part(self.share.start + start, self.share.start + stop)
            else:
                yield whole.reordered(order[start:stop])

    def _permuted(self, seed: int) -> np.ndarray:
        """Numbers of the share's rows in another order."""
        return self.share.start + np.random.default_rng(seed).permutation(self.rows)


def as_piece(data: Any, unit: str, origin: Any) -> Piece:
    """One table in memory as a piece.

    Raises:
        DataError: neither a dict of arrays nor a DataFrame, or arrays of different lengths.
    """
    if isinstance(data, pd.DataFrame):
        names = list(map(str, data.columns))
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise DataError(f"data: {names.count(twice)} columns of {unit} are named {twice!r}")
        columns = {n: _values(data.iloc[:, i]) for i, n in enumerate(names)}
        return Piece(columns, len(data), origin, unit, indices=dict(indices(data)))
    if not isinstance(data, Mapping):
        raise DataError(
            f"data: expected a dict of arrays or a DataFrame as {unit}, got {type(data).__name__}"
        )
    for name, values in data.items():
        refuse_masked(f"{name!r} of {unit}", values, origin)
    arrays = {str(n): np.asarray(v) for n, v in data.items()}
    rows = {n: len(v) if v.ndim else None for n, v in arrays.items()}
    if len(set(rows.values())) > 1 or None in rows.values():
        raise DataError(
            f"data: all arrays of {unit} should have the same number of rows, got {rows}"
        )
    count = next(iter(rows.values()), 0) or 0
    return Piece(arrays, count, origin, unit, table=False, indices=dict(indices(data)))


def _values(column: pd.Series) -> np.ndarray:
    """A column as an array: numbers of pandas' nullable types with NaN for what is missing."""
    nullable = pd.api.types.is_extension_array_dtype(
        column.dtype
    ) and pd.api.types.is_numeric_dtype(column)
    return (
        column.to_numpy(np.float64, na_value=np.nan)
        if nullable and column.hasnans
        else column.to_numpy()
    )
