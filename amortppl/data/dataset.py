"""A user's data -> checked arrays by argument."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.data.censored import fill_ends
from amortppl.data.checks import cast, check_finite, in_support, numbers, simulated_type
from amortppl.data.columns import Columns, depth, expect_arguments, pick_columns
from amortppl.data.group_arrays import arrange_groups, rows_in_support, split_groups
from amortppl.data.groups import Groups, known_labels
from amortppl.data.index_checks import in_groups
from amortppl.data.missing import blank_missing
from amortppl.data.several_groups import Labels, number_groups
from amortppl.data.stamps import expect_stamps
from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask


class Dataset(NamedTuple):
    """Checked arrays by argument, each with N rows first (a block has one), and column names.

    `given` holds the same numbers as they came, before they were made 32 bits wide. Where rows lie
    in groups, the groups take the place of the rows (`amortppl.task.groups`); `groups` says where
    each row of the data is, and `given_rows` holds those of `given` in the rows' own order. Of
    several groupings, `places` has the place of each label.
    """

    arrays: dict[str, np.ndarray]
    labels: dict[str, list[str]]
    given: Mapping[str, np.ndarray] = MappingProxyType({})
    groups: Groups | None = None
    given_rows: Mapping[str, np.ndarray] = MappingProxyType({})
    places: Labels = MappingProxyType({})

    @property
    def rows(self) -> int:
        """N; of groups, how many these are."""
        return self.lines if self.groups is None else len(self.groups.labels)

    @property
    def lines(self) -> int:
        """Rows of the arrays: N; of groups more where large ones take several (`Groups`)."""
        return len(next(iter(self.arrays.values())))


def read(
    task: AbstractTask,
    data: Any,
    columns: Columns | None = None,
    *,
    observed: bool = True,
    places: Labels | None = None,
) -> Dataset:
    """Checks one dataset against its task.

    Args:
        task: says which arguments there are, of what shape, type and support.
        data: a dict of arrays by argument, or a DataFrame.
        columns: for a DataFrame, the column or columns of each argument; by default columns
            named like the argument, or like `argument_0`, `argument_1`, ...
        observed: whether the observations must be there; without them only inputs are read.
        places: of several groupings, the places of labels that were seen before.

    Raises:
        DataError: naming the argument, what was expected, what came, and the likely cause.
    """
    if task.several is not None:
        data, own = number_groups(task.several, data, places)
        return _read(task, data, columns, observed)._replace(places=own)
    return _read(task, data, columns, observed)


def _read(task: AbstractTask, data: Any, columns: Columns | None, observed: bool) -> Dataset:
    wanted = list(task.arguments) if observed else list(task.inputs)
    data = expect_stamps(task, data) if observed else data
    all_labels = None
    if task.grouping and isinstance(data, Mapping):
        data, all_labels = known_labels(data, task.groups.arguments)
    if isinstance(data, pd.DataFrame):
        arrays, labels = _from_frame(task, data, columns or {}, wanted)
    elif isinstance(data, Mapping):
        arrays, labels = _from_mapping(data, wanted, task), {}
    else:
        raise DataError(
            f"data: expected a dict of arrays by argument or a DataFrame, got {type(data).__name__}"
        )
    groups = None
    if task.grouping:
        arrays, groups = split_groups(task.groups.arguments, arrays, all_labels)
    return _checked(task, arrays, labels, groups, observed)


def _checked(
    task: AbstractTask,
    values: Mapping[str, Any],
    labels: dict[str, list[str]],
    groups: Groups | None,
    observed: bool,
) -> Dataset:
    """The dataset of picked columns, or the first that is wrong with them as an error."""
    arrays = {n: numbers(n, v, labels.get(n)) for n, v in values.items()}
    arrays = fill_ends(task, arrays) if task.censoring and observed else arrays
    missing = [a for a, s in task.observed.items() if s in task.twins] if observed else []
    for name, each in arrays.items():
        if name not in missing:
            check_finite(name, each, labels.get(name))
    arrays = {n: v[None] if task.block else v for n, v in arrays.items()}
    arrays = {n: _check_shape(task, n, v) for n, v in arrays.items()}
    _equal_rows(arrays, task, groups)
    given = arrays
    # Of missing cells anything will do: the argument that marks them takes them out.
    arrays = {n: np.nan_to_num(v) if n in missing else v for n, v in arrays.items()}
    arrays = {n: cast(n, v, simulated_type(task, n), labels.get(n)) for n, v in arrays.items()}
    in_groups(task, arrays, labels)
    if missing:
        arrays = blank_missing(task, arrays, given, labels)
    if groups is not None:
        names = task.groups.arguments
        if observed:
            rows_in_support(task, groups, arrays)
        given_rows = given
        arrays, given = (arrange_groups(names, groups, each) for each in (arrays, given))
        return Dataset(arrays, labels, given, groups, given_rows)
    if observed:
        rows = len(next(iter(arrays.values())))
        fixed = task.block or task.rows[0] == task.rows[1]
        in_support(task, arrays, rows if fixed else 1 << (rows - 1).bit_length())
    return Dataset(arrays, labels, given)


def _from_mapping(data: Mapping[str, Any], wanted: list[str], task: AbstractTask) -> dict[str, Any]:
    expect_arguments(task, data, wanted)
    _expect_one_index({n: data[n] for n in wanted})
    return {n: data[n] for n in wanted}


def _expect_one_index(data: Mapping[str, Any]) -> None:
    """Refuses Series and DataFrames of unlike index, whose rows pandas would join by label."""
    tables = {n: v for n, v in data.items() if isinstance(v, pd.Series | pd.DataFrame)}
    first = next(iter(tables), None)
    for name, table in tables.items():
        index, other = tables[first].index, table.index
        if len(index) == len(other) and not index.equals(other):
            row = int(np.argmax(np.asarray(index != other)))
            raise DataError(
                f"data: the rows of {first!r} and {name!r} have unlike indices, first at row "
                f"{row} ({index[row]!r} and {other[row]!r}). Join them in one DataFrame, or pass "
                f".to_numpy() of each to join them by position"
            )


def _from_frame(
    task: AbstractTask, frame: pd.DataFrame, columns: Columns, wanted: list[str]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    labels = pick_columns(task, list(frame.columns), columns, wanted)
    scalar = 1 if task.block else 0
    flat = {n: len(c) == 1 and depth(task, n) <= scalar for n, c in labels.items()}
    named = {str(c): i for i, c in enumerate(frame.columns)}
    picked = {n: frame.iloc[:, [named[c] for c in each]] for n, each in labels.items()}
    return {n: v.iloc[:, 0] if flat[n] else v for n, v in picked.items()}, labels


def _check_shape(task: AbstractTask, name: str, values: np.ndarray) -> np.ndarray:
    expected = task.row_shapes[name]
    if values.shape[1:] != expected and values.shape[1:] == (*expected, 1):
        values = values[..., 0]
    if values.ndim == 0 or values.shape[1:] != expected:
        want, came = (
            (expected, values.shape[1:]) if task.block else (("N", *expected), values.shape)
        )
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


def _equal_rows(
    arrays: Mapping[str, np.ndarray], task: AbstractTask, groups: Groups | None
) -> None:
    rows = {n: len(v) for n, v in arrays.items()}
    if groups is not None:
        names = task.groups.arguments
        rows = {n: r for n, r in rows.items() if n not in names.whole}
        rows |= {names.index: len(groups.group)}
    if len(set(rows.values())) > 1:
        raise DataError(f"data: all arguments should have the same number of rows, got {rows}")
