"""A user's data -> checked arrays by argument."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from amortppl.errors import DataError, nearest, quoted
from amortppl.task import Task

Columns = Mapping[str, str | list[str]]


class Dataset(NamedTuple):
    """Checked arrays by argument, each with N rows first (a block has one), and column names."""

    arrays: dict[str, np.ndarray]
    labels: dict[str, list[str]]

    @property
    def rows(self) -> int:
        """N."""
        return len(next(iter(self.arrays.values())))


class Where(NamedTuple):
    """How messages name a place in the data.

    Attributes:
        place: row number -> words.
        scope: what the counts are of, when not of all the data.
    """

    place: Callable[[int], str] = "row {}".format
    scope: str = ""


HERE = Where()


def read(task: Task, data: Any, columns: Columns | None = None, *, observed: bool = True) -> Dataset:
    """Checks one dataset against its task.

    Args:
        task: says which arguments there are, of what shape, type and support.
        data: a dict of arrays by argument, or a DataFrame.
        columns: for a DataFrame, the column or columns of each argument; by default columns
            named like the argument, or like `argument_0`, `argument_1`, ...
        observed: whether the observations must be there; without them only inputs are read.

    Raises:
        DataError: naming the argument, what was expected, what came, and the likely cause.
    """
    wanted = list(task.arguments) if observed else list(task.inputs)
    if isinstance(data, pd.DataFrame):
        arrays, labels = _from_frame(task, data, columns or {}, wanted)
    elif isinstance(data, Mapping):
        arrays, labels = _from_mapping(data, wanted, task), {}
    else:
        raise DataError(f"data: expected a dict of arrays by argument or a DataFrame, got {type(data).__name__}")
    arrays = {n: numbers(n, arrays[n], labels.get(n)) for n in wanted}
    missing = [a for a, s in task.observed.items() if s in task.twins] if observed else []
    for name, values in arrays.items():
        if name not in missing:
            finite(name, values, labels.get(name))
    arrays = {n: v[None] if task.block else v for n, v in arrays.items()}
    arrays = {n: _shaped(task, n, v) for n, v in arrays.items()}
    _equal_rows(arrays)
    arrays = {n: _typed(task, n, v) for n, v in arrays.items()}
    if missing:
        arrays = blank(task, arrays, labels)
    if observed:
        rows = len(arrays[wanted[0]])
        fixed = task.block or task.rows[0] == task.rows[1]
        in_support(task, arrays, rows if fixed else 1 << (rows - 1).bit_length())
    return Dataset(arrays, labels)


def _from_mapping(data: Mapping[str, Any], wanted: list[str], task: Task) -> dict[str, Any]:
    expect_arguments(task, data, wanted)
    return {n: data[n] for n in wanted}


def expect_arguments(task: Task, data: Iterable[str], wanted: list[str]) -> None:
    """Refuses names that are not arguments of the task, and wanted arguments without a name.

    Raises:
        DataError: naming the first of them and the nearest name that is known.
    """
    extra = [n for n in data if n not in task.arguments]
    missing = [n for n in wanted if n not in data]
    if extra:
        raise DataError(
            f"data: {extra[0]!r} is not an argument of {task.name} (it has "
            f"{quoted(task.arguments)}){nearest(extra[0], wanted)}"
        )
    if missing:
        raise DataError(
            f"data: the argument {missing[0]!r} of {task.name} is missing (given: "
            f"{quoted(data)}){nearest(missing[0], data)}"
        )


def _from_frame(
    task: Task, frame: pd.DataFrame, columns: Columns, wanted: list[str]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    labels = pick_columns(task, list(frame.columns), columns, wanted)
    scalar = 1 if task.block else 0
    flat = {n: len(c) == 1 and _depth(task, n) <= scalar for n, c in labels.items()}
    return {n: frame[c[0]] if flat[n] else frame[c] for n, c in labels.items()}, labels


def pick_columns(task: Task, names: list[Any], columns: Columns, wanted: list[str]) -> dict[str, list[str]]:
    """The columns of each wanted argument, of a table with columns `names`.

    Raises:
        DataError: `columns` names what is not an argument, or a column is missing.
    """
    for name in columns:
        if name not in task.arguments:
            raise DataError(
                f"columns: {name!r} is not an argument of {task.name} (it has "
                f"{quoted(task.arguments)}){nearest(name, wanted)}"
            )
    labels = {}
    for name in wanted:
        picked = columns.get(name) or _matching(name, names, _depth(task, name))
        picked = [picked] if isinstance(picked, str) else list(picked)
        expect_columns(name, picked, names)
        labels[name] = [str(c) for c in picked]
    return labels


def expect_columns(name: str, picked: list[str], names: list[Any]) -> None:
    """Refuses columns of an argument that are not there.

    Raises:
        DataError: naming the first of them and the nearest name that is there.
    """
    for column in picked:
        if column not in names:
            raise DataError(
                f"data: no column {column!r} for the argument {name!r} (columns: {quoted(map(str, names))})"
                f"{nearest(str(column), map(str, names))}"
            )


def _depth(task: Task, name: str) -> int:
    """Axes of an argument beside that of the rows."""
    return len(task.rows_like[name].shape) - (0 if task.block else 1)


def _matching(name: str, names: list[Any], depth: int) -> list[str]:
    """Columns of an argument by name: `x` itself, or `x_0, x_1, ...` in order of their number."""
    if name in names:
        return [name]
    numbered = [str(c) for c in names if str(c).startswith(f"{name}_") and str(c)[len(name) + 1 :].isdigit()]
    return sorted(numbered, key=lambda c: int(c[len(name) + 1 :])) if numbered and depth else [name]


def numbers(name: str, values: Any, labels: list[str] | None, where: str = "") -> np.ndarray:
    """The values as an array of a numeric type.

    Raises:
        DataError: some are not numbers; `where` ends the words that name them.
    """
    if isinstance(values, pd.DataFrame):
        for column in values:
            if not pd.api.types.is_numeric_dtype(values[column]) and not pd.api.types.is_bool_dtype(values[column]):
                raise _wrong_type(f"column {column!r}{where}", values[column])
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        try:
            if array.dtype.kind in "mM":
                raise TypeError("dates")
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise _wrong_type(f"column {labels[0]!r}{where}" if labels else f"{name!r}{where}", values) from error
    return array


def _wrong_type(what: str, values: Any) -> DataError:
    array = np.asarray(values).ravel()
    odd = next((v for v in array if not isinstance(v, int | float | np.number)), None)
    return DataError(
        f"data: {what} should hold numbers, got {getattr(values, 'dtype', type(values).__name__)} (first other "
        f"value: {odd!r}); "
        "turn categories into numbers or indicator columns first"
    )


def finite(name: str, values: np.ndarray, labels: list[str] | None, where: Where = HERE) -> None:
    """Refuses NaN and infinite values.

    Raises:
        DataError: naming the first of them.
    """
    fine = np.isfinite(values)
    if fine.all():
        return
    at = tuple(int(i) for i in np.argwhere(~fine)[0])
    vector = values.shape[1:] not in ((), (1,)) and len(labels or ()) < 2
    place = where.place(at[0] if at else 0) + (f", position {list(at[1:])}" if vector else "")
    raise DataError(
        f"data: {name!r}{_column(labels, at)} holds {values[at]} at {place}; {int((~fine).sum())} of {values.size} "
        f"values{where.scope} are missing, or infinite as {values.dtype}. Drop or fill those rows first"
    )


def _column(labels: list[str] | None, at: tuple[int, ...]) -> str:
    """Words for the column of an entry, where there are column names."""
    return f" (column {labels[at[1] if len(labels) > 1 else 0]!r})" if labels else ""


def _shaped(task: Task, name: str, values: np.ndarray) -> np.ndarray:
    expected = task.rows_like[name].shape[1:]
    if values.shape[1:] != expected and values.shape[1:] == (*expected, 1):
        values = values[..., 0]
    if values.ndim == 0 or values.shape[1:] != expected:
        want, came = (expected, values.shape[1:]) if task.block else (("N", *expected), values.shape)
        raise DataError(
            f"data: {name!r} should have shape ({', '.join(map(str, want))}), got "
            f"({', '.join(map(str, came))}){_shape_hint(expected, values)}"
        )
    if len(values) == 0:
        raise DataError(f"data: {name!r} has no rows; at least one is needed")
    return values


def _shape_hint(expected: tuple[int, ...], values: np.ndarray) -> str:
    if values.ndim == 2 and len(expected) == 1 and values.shape[0] == expected[0]:
        return "; is it transposed?"
    if values.ndim == 2 and len(expected) == 1:
        return f"; the guide was trained for {expected[0]} columns"
    return ""


def _equal_rows(arrays: Mapping[str, np.ndarray]) -> None:
    rows = {n: len(v) for n, v in arrays.items()}
    if len(set(rows.values())) > 1:
        raise DataError(f"data: all arguments should have the same number of rows, got {rows}")


def _typed(task: Task, name: str, values: np.ndarray) -> np.ndarray:
    """The type the model simulates; whole numbers where it simulates whole numbers."""
    dtype = simulated_type(task, name)
    if np.issubdtype(dtype, np.integer) and values.dtype.kind == "f":
        known = np.nan_to_num(values)
        whole(name, known, known == np.round(known), None)
        return known.astype(dtype)
    return values.astype(dtype)


def simulated_type(task: Task, name: str) -> np.dtype:
    """The type that the model simulates for an argument; float32 for booleans."""
    dtype = np.dtype(task.rows_like[name].dtype)
    return np.dtype(np.float32) if dtype.kind == "b" else dtype


def whole(name: str, values: np.ndarray, fine: np.ndarray, labels: list[str] | None, where: Where = HERE) -> None:
    """Refuses values that are not whole numbers of the type that the model simulates, those where `fine` is False.

    Raises:
        DataError: naming the first of them.
    """
    if fine.all():
        return
    at = tuple(int(i) for i in np.argwhere(~fine)[0])
    small = abs(values[at]) < 2**31
    expected = "whole numbers" if small else "numbers that 32 bits can hold"
    column, place = _column(labels, at), where.place(at[0])
    raise DataError(f"data: {name!r}{column} should hold {expected}, got {values[at]} at {place}")


def blank(
    task: Task, arrays: dict[str, np.ndarray], labels: Mapping[str, list[str]] | None = None
) -> dict[str, np.ndarray]:
    """Replaces what observations hold in rows that the model says are missing (`amortppl.obs_mask`).

    Raises:
        DataError: a value that counts is not finite.
    """
    rows = len(next(iter(arrays.values())))
    size = 1 << (rows - 1).bit_length() if task.row_free else rows
    given = {n: np.concatenate([v, np.repeat(v[:1], size - rows, 0)]) for n, v in arrays.items()}
    for name, (counts, values) in _unseen(task, given).items():
        finite(name, np.where(np.asarray(counts)[:rows], arrays[name], 0), (labels or {}).get(name))
        arrays = arrays | {name: np.asarray(values)[:rows]}
    return arrays


@partial(jax.jit, static_argnums=0)
def _unseen(task: Task, arrays: dict[str, jax.Array]) -> dict[str, tuple[jax.Array, jax.Array]]:
    return task.unseen(arrays)


UNBOUNDED = ("Real", "RealVector")
"""Supports that hold every finite number."""


def in_support(task: Task, arrays: Mapping[str, np.ndarray], size: int, where: Where = HERE) -> None:
    """Refuses observations outside the support of the site that they feed.

    Args:
        size: number of rows to which the arrays are padded first, so that few shapes are compiled.

    Raises:
        DataError: naming the first of them.
    """
    if all(task.sites[s].support in UNBOUNDED for s in task.observed.values()):
        return
    rows = len(next(iter(arrays.values())))
    if size > rows:
        arrays = {n: np.concatenate([v, np.repeat(v[:1], size - rows, 0)]) for n, v in arrays.items()}
    for name, inside in _supported(task, arrays).items():
        inside = np.asarray(inside)[:rows]
        if not inside.all():
            _outside(task, name, arrays[name], inside, where)


@partial(jax.jit, static_argnums=0)
def _supported(task: Task, arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return task.supported(arrays)


def _outside(task: Task, name: str, array: np.ndarray, inside: np.ndarray, where: Where) -> None:
    bad = np.argwhere(~inside)
    site, at = task.sites[task.observed[name]], tuple(int(i) for i in bad[0])
    values = array[at] if inside.ndim == array.ndim else array[at[0]]
    raise DataError(
        f"data: {name!r} holds {values} at {where.place(at[1] if task.block and len(at) > 1 else at[0])}, outside the "
        f"support ({site.support}) of the site {site.name!r} ~ {site.distribution}; {len(bad)} such rows{where.scope}"
    )
