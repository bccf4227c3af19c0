"""Several groupings of the same rows, nested or crossed: their labels counted, and their numbers
fixed at those of the data.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.data.groups import Groups, one_a_group, read_groups
from amortppl.data.labels import one_label_each
from amortppl.errors import DataError, ModelError, quoted
from amortppl.fit.data_groups import group_arguments
from amortppl.task.task import Task

Arrays = dict[str, Any]


class Counted(NamedTuple):
    """Datasets whose labels are numbers.

    Attributes:
        datasets: by argument, with the index 0, 1, ... and the number of every grouping.
        labels: of the groups in the order of their numbers, by grouping.
    """

    datasets: list[Arrays]
    labels: dict[str, list[Any]]


def count_groups(
    arguments: Mapping[str, inspect.Parameter],
    datasets: Sequence[Arrays],
    by_group: Mapping[str, Sequence[str]],
) -> Counted | None:
    """Numbers for labels, where a model asks for the numbers of several groupings; else None.

    A grouping that another one names in `by_group` is nested: every class lies in one school, and
    the model gets the school of each class.

    Args:
        arguments: of the model.
        datasets: by argument.
        by_group: arguments with one value for each group, by grouping.

    Raises:
        DataError: labels are missing, or a group of a nested grouping lies in two.

    >>> def model(pupil, school, n_pupil, n_school, y=None): ...
    >>> data = {"pupil": ["x", "y", "x"], "school": ["b", "a", "b"], "y": [1, 2, 3]}
    >>> counted = count_groups(inspect.signature(model).parameters, [data], {})
    >>> counted.datasets[0]["school"].tolist(), counted.datasets[0]["n_pupil"], counted.labels
    ([1, 0, 1], 2, {'pupil': ['x', 'y'], 'school': ['a', 'b']})
    """
    names = group_arguments(arguments, datasets[0])
    if len(names) < 2:
        return None
    for name in by_group:
        if name not in names:
            raise DataError(f"by_group: {name!r} is none of the groupings {quoted(names)}")
    labels = {n: read_groups(_joined(datasets, n), n).labels for n in names}
    return Counted([_numbered(d, labels, by_group) for d in datasets], labels)


def _joined(datasets: Sequence[Arrays], name: str) -> pd.Series:
    """The labels of all datasets; of categories these without rows too."""
    return pd.concat([one_label_each(d[name], name) for d in datasets], ignore_index=True)


def _numbered(
    data: Arrays, labels: Mapping[str, Sequence[Any]], by_group: Mapping[str, Sequence[str]]
) -> Arrays:
    groups = {n: read_groups(data[n], n, own) for n, own in labels.items()}
    first = next(iter(groups))
    for name, each in groups.items():
        if len(each.group) != len(groups[first].group):
            raise DataError(
                f"data: {name!r} has {len(each.group)} labels and {first!r} "
                f"{len(groups[first].group)}; each row has one of both"
            )
    numbered = {n: g.group.astype(np.int32) for n, g in groups.items()}
    whole = {n: own for own, names in by_group.items() for n in names}
    for name, index in whole.items():
        values = numbered.get(name, data[name])
        numbered[name] = _one_each(name, values, groups[index], index, labels.get(name))
    numbers = {f"n_{n}": len(own) for n, own in labels.items()}
    return data | numbered | numbers


def _one_each(
    name: str, values: Any, groups: Groups, index: str, labels: Sequence[Any] | None
) -> np.ndarray:
    values = np.asarray(values)
    _expect_nested(name, values, groups, index, labels)
    return one_a_group(name, values, groups, index)


def _expect_nested(
    name: str, values: np.ndarray, groups: Groups, index: str, labels: Sequence[Any] | None
) -> None:
    """Raises where `name` is a grouping, and one group of `index` lies in two of its groups."""
    if labels is None:
        return
    first: dict[int, int] = {}
    for group, value in zip(groups.group.tolist(), values.tolist(), strict=True):
        if first.setdefault(group, value) != value:
            raise DataError(
                f"data: every {index} lies in one {name}, as by_group={{{index!r}: [{name!r}]}} "
                f"says, but {groups.labels[group]!r} is in {labels[first[group]]!r} and in "
                f"{labels[value]!r}. If these are two, give each a label of its own, as {name} and "
                f"{index} together; if they are crossed, take {name!r} out of by_group"
            )


@contextmanager
def explain_nesting(
    counted: Counted | None, by_group: Mapping[str, Sequence[str]]
) -> Iterator[None]:
    """Adds to a model's error what `by_group` could say of groupings that are nested in the data.

    A model that wants the school of each room, not of each row, fails by the shapes of its arrays.
    """
    try:
        yield
    except ModelError as error:
        nested = describe_nesting(counted, by_group)
        if not nested:
            raise
        raise ModelError(f"{error}{nested}") from error


def describe_nesting(counted: Counted | None, by_group: Mapping[str, Sequence[str]]) -> str:
    """Groupings that are nested in all datasets, as `by_group` has them; "" where none are.

    >>> data = [{"room": np.array([0, 1, 2, 2]), "school": np.array([0, 0, 1, 1])}]
    >>> describe_nesting(Counted(data, {"room": [*"abc"], "school": [*"de"]}), {})[:46]
    '. In these data every room lies in one school:'
    """
    if counted is None:
        return ""
    given = {n for names in by_group.values() for n in names}
    for own, other in permutations([n for n in counted.labels if n not in given], 2):
        pairs = _pairs_of(counted.datasets, own, other)
        if len(counted.labels[other]) < len(counted.labels[own]) == len(pairs):
            return (
                f". In these data every {own} lies in one {other}: if the model takes the {other} "
                f"of each {own}, not of each row, pass by_group={{{own!r}: [{other!r}]}}"
            )
    return ""


def _pairs_of(datasets: Sequence[Arrays], own: str, other: str) -> np.ndarray:
    """The pairs of groups that occur, (K, 2)."""
    return np.unique(np.concatenate([np.stack([d[own], d[other]], 1) for d in datasets]), axis=0)


def name_groups(task: Task, labels: Mapping[str, Sequence[Any]]) -> None:
    """Labels for the axes of plates that are called after a grouping and are as long."""
    for site in task.sites.values():
        for axis, plate in site.plates.items():
            for name, own in labels.items():
                called = plate.lower().startswith(name.lower().rstrip("_"))
                if called and site.shape[axis : axis + 1] == (len(own),):
                    task.coords.setdefault(plate, list(own))
