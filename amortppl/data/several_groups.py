"""Labels of several groupings as places (`amortppl.task.several_groups`)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.data.groups import Groups, counted_labels, read_groups
from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask
from amortppl.task.several_groups import Places, SeveralGroups

Labels = Mapping[str, dict[Any, int]]
"""The place of each label, by grouping."""


class Numbered(NamedTuple):
    """Data of which the labels of groupings are places.

    Attributes:
        data: a dict or a DataFrame.
        labels: the place of each label, by grouping.
    """

    data: Any
    labels: Labels


def number_groups(several: SeveralGroups, data: Any, before: Labels | None = None) -> Numbered:
    """Places for the labels of a dataset.

    Args:
        several: the groupings.
        data: a dict or a DataFrame with the labels of each row.
        before: places that labels have already; new labels take places that are free.

    Raises:
        DataError: labels are missing, are more than there are places for, are not as many as data
            say, or do not nest.
    """
    if isinstance(data, Numbered):
        return data
    if not isinstance(data, Mapping | pd.DataFrame):
        return Numbered(data, {})
    absent = [n for n in several.groupings if n not in data]
    if absent:
        raise DataError(f"data: {absent[0]!r} is missing: the label of each row's {absent[0]}")
    labels: dict[str, dict[Any, int]] = {}
    places: dict[str, np.ndarray] = {}
    for name, own in several.groupings.items():
        given = read_groups(data[name], name, _all_labels(data, name))
        if places and len(given.group) != len(next(iter(places.values()))):
            raise DataError(f"data: {name!r} has other than one label for each row")
        above = places[own.outer] if own.outer else np.zeros(len(given.group), int)
        labels[name] = _places(own, given, above, dict((before or {}).get(name, {})))
        each = np.array([labels[name][label] for label in given.labels])
        places[name] = each[given.group]
    kept = {n: places[n] for n in several.arguments}
    gone = [n for n in (*several.nested.values(), *map("n_{}".format, places)) if n in data]
    if isinstance(data, pd.DataFrame):
        return Numbered(data.drop(columns=gone).assign(**kept), labels)
    return Numbered({n: v for n, v in data.items() if n not in gone} | kept, labels)


def _all_labels(data: Any, name: str) -> Sequence[Any] | None:
    number = f"n_{name}"
    return counted_labels(name, data[name], data[number]) if number in data else None


def place_new_rows(task: AbstractTask, data: Any, at: Any) -> Any:
    """New rows with the places that their labels have in a dataset, as `read` takes them.

    Args:
        task: of which several groupings are numbered, if it has them.
        data: the dataset, or none.
        at: inputs of new rows. Labels that the dataset lacks take free places, whose effects are
            those of groups without rows.
    """
    if task.several is None:
        return at
    seen = isinstance(data, Mapping | pd.DataFrame) and len(data)
    before = number_groups(task.several, data).labels if seen else {}
    return number_groups(task.several, at, before)


def refuse_parts_of_groupings(task: AbstractTask) -> None:
    """Refuses mini-batches, of which each would have places of its own.

    Raises:
        DataError: the task has several groupings.
    """
    if task.several is not None:
        raise DataError(
            f"data: labels of several groupings ({', '.join(task.several.groupings)}) are counted "
            "over all rows, so that these come at once, not in mini-batches: guide.infer(data)"
        )


def _places(own: Places, given: Groups, above: np.ndarray, taken: dict[Any, int]) -> dict[Any, int]:
    """The place of each label, those that have one first."""
    if own.outer and (empty := given.sizes == 0).any():
        raise DataError(
            f"data: the {own.name} {given.labels[empty.argmax()]!r} has no rows that could tell "
            f"its {own.outer}. Take it out of the categories (cat.remove_unused_categories): "
            "guide.predict takes groups without rows"
        )
    first = np.zeros(len(given.labels), int)
    first[given.group[::-1]] = above[::-1]
    wrong = np.nonzero(first[given.group] != above)[0]
    if len(wrong):
        raise DataError(
            f"data: every {own.name} lies in one {own.outer}, but "
            f"{given.labels[given.group[wrong[0]]]!r} is in two. If these are two, give each a "
            f"label of its own, as {own.outer} and {own.name} together; if they are crossed, take "
            f"{own.outer!r} out of by_group"
        )
    free: dict[int, list[int]] = {}
    for label, outer in zip(given.labels, first.tolist(), strict=True):
        if label in taken:
            continue
        if outer not in free:
            all_places = range(outer * own.most, (outer + 1) * own.most)
            free[outer] = [p for p in all_places if p not in set(taken.values())]
        if not free[outer]:
            inside = f" in one {own.outer}" if own.outer else ""
            raise DataError(
                f"data: more than {own.most} groups of {own.name!r}{inside}; the task was made for "
                f"{own.most} at most. Make it with groups={{{own.name!r}: (1, MORE)}}, or use "
                "ap.fit, which counts those of the data"
            )
        taken[label] = free[outer].pop(0)
    return taken


def keep_present(
    task: AbstractTask, values: Mapping[str, np.ndarray], labels: Labels
) -> dict[str, np.ndarray]:
    """Draws of latents by name, of the groups of a dataset alone.

    Args:
        task: with several groupings.
        values: (S, ...) by name.
        labels: of the dataset.
    """
    kept = dict(values)
    for name, axis, grouping, _ in grouped_axes(task):
        if name in kept:
            kept[name] = np.take(kept[name], list(labels[grouping].values()), axis + 1)
    return kept


def grouped_axes(task: AbstractTask) -> list[tuple[str, int, str, str]]:
    """Site, axis, grouping and plate of every axis of groups."""
    several = task.several
    if several is None:
        return []
    return [
        (name, axis, grouping, plate)
        for name, site in task.sites.items()
        for axis, plate in site.plates.items()
        if (grouping := several.axis_of(plate, site.shape[axis] if axis < len(site.shape) else 0))
    ]


def plate_labels(task: AbstractTask, labels: Labels) -> dict[str, list[Any]]:
    """The labels along each plate of groups."""
    return {plate: list(labels[grouping]) for _, _, grouping, plate in grouped_axes(task)}
