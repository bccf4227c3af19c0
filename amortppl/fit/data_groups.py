"""The task of a model of rows in groups and the datasets at hand."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.groups import counted_labels, read_groups
from amortppl.errors import DataError
from amortppl.task.task import Task

SIMULATED_ROWS = 16
"""Rows of a simulated group, at most: nothing is learned from them."""


def group_arguments(
    arguments: Mapping[str, inspect.Parameter], data: Mapping[str, Any]
) -> list[str]:
    """The indices of the rows' groups of which the model asks for the number and the data leave it
    out, or whose labels are no numbers.

    Raises:
        DataError: the number in the data is none, or not that of the labels.

    >>> def model(x, school, n_school, y=None): ...
    >>> group_arguments(inspect.signature(model).parameters, {"x": [1.0], "school": ["a"]})
    ['school']
    """
    empty = inspect.Parameter.empty
    asked = [n for n, p in arguments.items() if p.default is empty and n.startswith("n_")]
    named = [n for n in map(_counted_by, asked) if n in data]
    counted = {n for n in named if f"n_{n}" in data}
    kept = {n for n in counted if counted_labels(n, data[n], data[f"n_{n}"]) is not None}
    return [n for n in named if n not in kept]


def _counted_by(number: str) -> str:
    return number.removeprefix("n_")


def counted_grouping(
    arguments: Mapping[str, inspect.Parameter], data: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The one grouping of a model whose number is in the data beside labels 0, 1, ...; else [].

    Its groups may be counted as if the number had been left out: the same latents, in time that is
    linear in the groups. A group without rows is left to the model, which knows how many there are.

    >>> def model(school, n_school, y=None): ...
    >>> arguments = inspect.signature(model).parameters
    >>> counted_grouping(arguments, [{"school": np.array([1, 0]), "n_school": 2}])
    ['school']
    >>> counted_grouping(arguments, [{"school": np.array([1, 0]), "n_school": 3}])
    []
    """
    first = data[0]
    asked = [n for n in arguments if n.startswith("n_") and _counted_by(n) in first]
    if len(asked) != 1 or any(asked[0] not in d for d in data):
        return []
    name = _counted_by(asked[0])
    whole = all(np.unique(d[name]).tolist() == list(range(int(d[asked[0]]))) for d in data)
    return [name] if whole else []


def number_groups(data: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The index of each row's group and the number of groups, as a model takes them.

    >>> number_groups({"school": ["b", "a", "b"]}, ["school"])
    {'school': array([1, 0, 1]), 'n_school': 2}
    """
    groups = {n: read_groups(data[n], n) for n in names}
    numbers = {f"n_{n}": len(g.labels) for n, g in groups.items()}
    return {n: g.group for n, g in groups.items()} | numbers


def task_of_groups(
    model: Callable[..., Any],
    name: str,
    data: Sequence[Mapping[str, Any]],
    arguments: Mapping[str, inspect.Parameter],
    **labels: Any,
) -> Task:
    """The task whose groups are those of the data.

    Args:
        model: the model.
        name: its argument with the index of each row's group.
        data: datasets by argument, at least one.
        arguments: of the model.
        labels: what else `Task` takes. Arguments with one value a group are in `by_group`, or are
            known by their length or their labels.
    """
    groups = [read_groups(d[name], name) for d in data]
    sizes = [np.bincount(g.group) for g in groups]
    first, rows = data[0], len(groups[0].group)
    whole = {*(labels.pop("by_group", None) or {}).get(name, ())}
    constants: dict[str, Any] = {
        n: None for n, p in arguments.items() if p.default is None and n not in first
    }
    inputs: dict[str, Any] = {}
    for argument, value in first.items():
        if argument in (name, f"n_{name}"):
            continue
        if np.ndim(value) == 0 and not isinstance(value, Mapping):
            constants[argument] = value
            continue
        if isinstance(value, Mapping) or len(value) != rows:
            _expect_one_each(argument, value, name, len(groups[0].labels), rows)
            whole.add(argument)
        if arguments[argument].default is not None:
            inputs[argument] = _values(value)
    numbers = [len(g.labels) for g in groups]
    largest = max(int(s.max()) for s in sizes)
    return Task(
        model,
        inputs,
        (1, min(largest, SIMULATED_ROWS)),
        groups={name: (min(numbers), max(numbers))},
        by_group={name: sorted(whole)},
        constants=constants,
        **labels,
    )


def _expect_one_each(argument: str, value: Any, name: str, groups: int, rows: int) -> None:
    """Raises where values are as many as neither the rows nor the groups."""
    if not isinstance(value, Mapping) and len(value) != groups:
        raise DataError(
            f"data: {argument!r} has {len(value)} values, {name!r} labels {rows} rows of {groups} "
            "groups; give one for each row, or one for each group in the order of sorted labels"
        )


def _values(value: Any) -> Any:
    """Values by label as an array."""
    if isinstance(value, Mapping):
        return np.asarray(list(value.values()))
    return value.to_numpy() if isinstance(value, pd.Series) else value
