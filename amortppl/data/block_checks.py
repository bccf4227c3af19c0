"""Pieces of a source -> arrays by argument, of the types that a task simulates, checked a block at
a time.
"""

from collections.abc import Mapping

import numpy as np

from amortppl.data.checks import (
    Where,
    cast,
    check_finite,
    in_support,
    numbers,
    simulated_type,
)
from amortppl.data.chunks import Piece
from amortppl.data.columns import Columns, expect_arguments, expect_columns, pick_columns
from amortppl.data.index_checks import in_groups
from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask


class Checked:
    """Converts and checks the blocks of one stream.

    Args:
        task: says which arguments there are, of what shape, type and support.
        columns: the column or columns of each argument, as in `amortppl.data.dataset.read`.
        rows: rows in a block; the check of supports is compiled for this number.
        keep: whether `given` keeps the numbers of the last block as they came.
    """

    def __init__(self, task: AbstractTask, columns: Columns, rows: int, keep: bool = False) -> None:
        self.task, self.columns, self.rows, self.keep = task, columns, rows, keep
        self.given: dict[str, np.ndarray] = {}

    def picks(self, names: list[str], table: bool) -> dict[str, list[str]]:
        """The columns of each argument, of a source with columns `names`.

        Raises:
            DataError: one is missing.
        """
        if table or self.columns:
            return pick_columns(self.task, names, self.columns, self.task.arguments)
        expect_arguments(self.task, names, self.task.arguments)
        return {n: [n] for n in self.task.arguments}

    def arrays(self, block: Piece) -> dict[str, np.ndarray]:
        """The block's arrays by argument.

        Raises:
            DataError: a value is no number, NaN, infinite, too large for its type, no whole number
                where the model simulates whole numbers, or outside the support of its site.
        """
        picks = self.picks(list(block.columns), block.table)
        where = Where(block.place, " of this block")
        arrays = {n: self._argument(n, picks[n], block, where) for n in picks}
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                check_finite(name, array, picks[name] if block.table else None, where)
        in_groups(self.task, arrays, picks if block.table else {}, where)
        in_support(self.task, arrays, self.rows, where)
        return arrays

    def _argument(self, name: str, picked: list[str], block: Piece, where: Where) -> np.ndarray:
        labels = picked if block.table else None
        like = self.task.rows_like[name].shape[1:]
        unit = f" of {block.unit}"
        values = [numbers(name, block.columns[c], [c], unit, block.place) for c in picked]
        apart = all(v.ndim == 1 for v in values) and len(like) == 1
        shape = (len(values),) if apart else values[0].shape[1:] if len(values) == 1 else None
        if shape != like and shape != (*like, 1):
            raise _wrong_shape(name, picked, like, values, block)
        array = np.empty((block.rows, *like), simulated_type(self.task, name))
        if self.keep:
            came = np.column_stack(values) if apart else values[0].reshape(array.shape)
            self.given = self.given | {name: came}
        if apart:
            for place, column in enumerate(values):
                _store(array[:, place], column, name, labels and [labels[place]], where)
        else:
            _store(array, values[0].reshape(array.shape), name, labels, where)
        return array


def _wrong_shape(
    name: str, picked: list[str], like: tuple[int, ...], values: list[np.ndarray], block: Piece
) -> DataError:
    came = ", ".join(
        map(str, ("N", len(values)) if len(values) > 1 else ("N", *values[0].shape[1:]))
    )
    return DataError(
        f"data: {name!r} should have shape ({', '.join(map(str, ('N', *like)))}), got ({came}) "
        f"from "
        f"{', '.join(map(repr, picked))} of {block.unit}"
    )


def _store(
    target: np.ndarray, values: np.ndarray, name: str, labels: list[str] | None, where: Where
) -> None:
    if values.dtype.kind == "f" and values.dtype != target.dtype:
        check_finite(name, values, labels, where)
    target[...] = cast(name, values, target.dtype, labels, where)


def plain(piece: Piece, columns: Columns) -> Mapping[str, np.ndarray]:
    """Columns by the names that `amortppl.data.dataset.read` looks for: for an argument x of a
    table `x` or `x_0, x_1, ...`.
    """
    given = {n: [c] if isinstance(c, str | int) else list(c) for n, c in columns.items()}
    lists = {n: list(map(str, each)) for n, each in given.items()}
    for name, picked in lists.items():
        expect_columns(name, picked, list(piece.columns))
    taken = {c for picked in lists.values() for c in picked}
    arguments = {n: [v] for n, v in piece.columns.items() if n not in taken}
    arguments |= {n: [piece.columns[c] for c in picked] for n, picked in lists.items()}
    if not piece.table:
        return {n: v[0] if len(v) == 1 else np.column_stack(v) for n, v in arguments.items()}
    return {k: v for n, values in arguments.items() for k, v in _number_columns(n, values).items()}


def _number_columns(name: str, values: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of an argument: `x`, or `x_0, x_1, ...`."""
    vectors = [w for v in values for w in (v.reshape(len(v), -1).T if v.ndim > 1 else [v])]
    return (
        {name: vectors[0]}
        if len(vectors) == 1
        else {f"{name}_{i}": v for i, v in enumerate(vectors)}
    )
