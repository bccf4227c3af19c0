"""Which columns of a table hold which argument."""

from collections.abc import Iterable, Mapping
from typing import Any

from amortppl.errors import DataError, nearest, quoted
from amortppl.task.abstract import AbstractTask

Columns = Mapping[str, Any]
"""A column's name, or a list of names, by argument. Names may be whole numbers, as in a DataFrame
without any."""


def expect_arguments(task: AbstractTask, data: Iterable[str], wanted: list[str]) -> None:
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


def pick_columns(
    task: AbstractTask, names: list[Any], columns: Columns, wanted: list[str]
) -> dict[str, list[str]]:
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
        picked = columns.get(name)
        if picked is None:
            picked = match_columns(name, list(map(str, names)), depth(task, name))
        picked = [picked] if isinstance(picked, str | int) else list(picked)
        expect_columns(name, picked, names)
        labels[name] = [str(c) for c in picked]
    return labels


def expect_columns(name: str, picked: list[str], names: list[Any]) -> None:
    """Refuses columns of an argument that are not there.

    Raises:
        DataError: naming the first of them and the nearest name that is there.
    """
    available = list(map(str, names))
    for column in map(str, picked):
        if available.count(column) > 1:
            raise DataError(
                f"data: {available.count(column)} columns are named {column!r}, for the argument "
                f"{name!r}; give each its own name"
            )
        if column not in available:
            raise DataError(
                f"data: no column {column!r} for the argument {name!r} (columns: "
                f"{quoted(map(str, names))})"
                f"{nearest(str(column), map(str, names))}"
            )


def depth(task: AbstractTask, name: str) -> int:
    """Axes of an argument beside that of the rows."""
    if task.grouping:
        return len(task.row_shapes[name])
    return len(task.rows_like[name].shape) - (0 if task.block else 1)


def match_columns(name: str, names: list[Any], depth: int) -> list[str]:
    """Columns of an argument by name: `x` itself, or `x_0, x_1, ...` in order of their number."""
    if name in names:
        return [name]
    numbered = [
        str(c) for c in names if str(c).startswith(f"{name}_") and str(c)[len(name) + 1 :].isdigit()
    ]
    return sorted(numbered, key=lambda c: int(c[len(name) + 1 :])) if numbered and depth else [name]
