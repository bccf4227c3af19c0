"""A user's data -> checked arrays by argument."""

from collections.abc import Mapping
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
    arrays = {n: _numbers(n, arrays[n], labels.get(n)) for n in wanted}
    for name, values in arrays.items():
        _finite(name, values, labels.get(name))
    arrays = {n: v[None] if task.block else v for n, v in arrays.items()}
    arrays = {n: _shaped(task, n, v) for n, v in arrays.items()}
    _equal_rows(arrays)
    arrays = {n: _typed(task, n, v) for n, v in arrays.items()}
    if observed:
        _in_support(task, arrays)
    return Dataset(arrays, labels)


def _from_mapping(data: Mapping[str, Any], wanted: list[str], task: Task) -> dict[str, Any]:
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
    return {n: data[n] for n in wanted}


def _from_frame(
    task: Task, frame: pd.DataFrame, columns: Columns, wanted: list[str]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    for name in columns:
        if name not in task.arguments:
            raise DataError(
                f"columns: {name!r} is not an argument of {task.name} (it has "
                f"{quoted(task.arguments)}){nearest(name, wanted)}"
            )
    arrays, labels = {}, {}
    for name in wanted:
        depth = len(task.rows_like[name].shape) - (0 if task.block else 1)
        picked = columns.get(name) or _matching(name, frame, depth)
        picked = [picked] if isinstance(picked, str) else list(picked)
        for column in picked:
            if column not in frame.columns:
                raise DataError(
                    f"data: no column {column!r} for the argument {name!r} (columns: {quoted(map(str, frame.columns))})"
                    f"{nearest(str(column), map(str, frame.columns))}"
                )
        flat = len(picked) == 1 and depth <= (1 if task.block else 0)
        arrays[name] = frame[picked[0]] if flat else frame[picked]
        labels[name] = [str(c) for c in picked]
    return arrays, labels


def _matching(name: str, frame: pd.DataFrame, depth: int) -> list[str]:
    """Columns of an argument by name: `x` itself, or `x_0, x_1, ...` in order of their number."""
    if name in frame.columns:
        return [name]
    numbered = [str(c) for c in frame.columns if str(c).startswith(f"{name}_") and str(c)[len(name) + 1 :].isdigit()]
    return sorted(numbered, key=lambda c: int(c[len(name) + 1 :])) if numbered and depth else [name]


def _numbers(name: str, values: Any, labels: list[str] | None) -> np.ndarray:
    if isinstance(values, pd.DataFrame):
        for column in values:
            if not pd.api.types.is_numeric_dtype(values[column]) and not pd.api.types.is_bool_dtype(values[column]):
                raise _wrong_type(f"column {column!r}", values[column])
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise _wrong_type(f"column {labels[0]!r}" if labels else f"{name!r}", values) from error
    return array


def _wrong_type(what: str, values: Any) -> DataError:
    array = np.asarray(values).ravel()
    odd = next((v for v in array if not isinstance(v, int | float | np.number)), None)
    return DataError(
        f"data: {what} should hold numbers, got {getattr(values, 'dtype', type(values).__name__)} (first other "
        f"value: {odd!r}); "
        "turn categories into numbers or indicator columns first"
    )


def _finite(name: str, values: np.ndarray, labels: list[str] | None) -> None:
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    where = tuple(int(i[0]) for i in np.nonzero(bad))
    column = f" (column {labels[where[1] if len(where) > 1 else 0]!r})" if labels else ""
    place = f"row {where[0]}" + (f", position {list(where[1:])}" if len(where) > 1 and not labels else "")
    raise DataError(
        f"data: {name!r}{column} holds {values[where]} at {place}; {int(bad.sum())} of {values.size} values are "
        f"missing or "
        "infinite. Drop or fill those rows first"
    )


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
    dtype = task.rows_like[name].dtype
    if np.issubdtype(dtype, np.integer) and values.dtype.kind == "f":
        odd = np.argwhere(values != np.round(values))
        if len(odd):
            where = tuple(odd[0])
            raise DataError(f"data: {name!r} should hold whole numbers, got {values[where]} at row {where[0]}")
    if dtype.kind == "b":
        return values.astype(np.float32)
    return values.astype(dtype)


def _in_support(task: Task, arrays: dict[str, np.ndarray]) -> None:
    rows = len(next(iter(arrays.values())))
    size = rows if task.block or task.rows[0] == task.rows[1] else 1 << (rows - 1).bit_length()
    padded = {n: np.concatenate([v, np.repeat(v[:1], size - rows, 0)]) for n, v in arrays.items()}
    for name, inside in jax.jit(task.supported)(padded).items():
        bad = np.argwhere(~np.asarray(inside)[:rows])
        if len(bad):
            site, where = task.sites[task.observed[name]], tuple(int(i) for i in bad[0])
            values = arrays[name][where] if np.asarray(inside).ndim == arrays[name].ndim else arrays[name][where[0]]
            raise DataError(
                f"data: {name!r} holds {values} at row "
                f"{where[1] if task.block and len(where) > 1 else where[0]}, outside the support "
                f"({site.support}) of the site {site.name!r} ~ {site.distribution}; {len(bad)} such rows"
            )
