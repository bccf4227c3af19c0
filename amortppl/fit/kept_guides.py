"""Guides that `ap.fit` has made, kept so that a further dataset of the same structure compiles
nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from amortppl.fit.data_groups import counted_grouping, group_arguments
from amortppl.fit.data_task import FEW, Arrays, named_arguments
from amortppl.guide.guide import Guide
from amortppl.task.check_values import evaluate_values, same_values

MOST = 8
"""Guides kept, those that were used last: each holds its dataset and its programs."""


class Made(NamedTuple):
    """A guide, and what it was made from.

    Attributes:
        model: the function; another one of the same words is another model.
        seed: of the guide.
        labels: what else `Task` was told.
        data: the dataset by argument, as it came.
        says: what the model said at three points (`amortppl.task.check_values`).
    """

    model: Callable[..., Any]
    seed: int
    labels: Mapping[str, Any]
    data: Arrays
    guide: Guide
    says: Mapping[str, np.ndarray]

    def answers(
        self, model: Callable[..., Any], data: Arrays, seed: int, labels: Mapping[str, Any]
    ) -> bool:
        """Whether a guide made from this dataset would have the same task, but for its rows.

        A model may read what was changed since, as a global number, so it is evaluated again.
        """
        asked = (self.model is model, self.seed == seed, dict(self.labels) == dict(labels))
        if not all(asked) or [*data] != [*self.data]:
            return False
        task = self.guide.task
        if task.censoring or _grouped(model, data) != _grouped(model, self.data):
            return False
        alike = all(_alike(task, n, v, self.data[n]) for n, v in data.items())
        return alike and _same_rows(task, data, self.data) and same_values(self.says, task)


class KeptGuides:
    """The guides used last, by what they were made from."""

    def __init__(self, most: int = MOST) -> None:
        self._made: list[Made] = []
        self._most, self._lock = most, Lock()

    def find(
        self, model: Callable[..., Any], data: Arrays, seed: int, labels: Mapping[str, Any]
    ) -> Guide | None:
        """The guide that answers a dataset, or None."""
        with self._lock:
            made = list(self._made)
        for each in reversed(made):
            if each.answers(model, data, seed, labels):
                self._keep(each)
                return each.guide
        return None

    def keep(
        self,
        model: Callable[..., Any],
        data: Arrays,
        seed: int,
        labels: Mapping[str, Any],
        guide: Guide,
    ) -> None:
        """Keeps a guide in the place of the one that was used least recently."""
        says = evaluate_values(guide.task)
        self._keep(Made(model, seed, dict(labels), dict(data), guide, says))

    def forget(self, guide: Guide) -> None:
        """Lets a guide go."""
        with self._lock:
            self._made = [m for m in self._made if m.guide is not guide]

    def clear(self) -> None:
        """Lets all guides go."""
        with self._lock:
            self._made = []

    def _keep(self, made: Made) -> None:
        with self._lock:
            others = [m for m in self._made if m.guide is not made.guide]
            self._made = [*others, made][-self._most :]


def _grouped(model: Callable[..., Any], data: Arrays) -> Sequence[str]:
    """The indices whose groups are counted."""
    arguments = named_arguments(model)
    return group_arguments(arguments, data) or counted_grouping(arguments, [data])


def _alike(task: Any, name: str, value: Any, other: Any) -> bool:
    """Whether an argument has the type and the shape that it had, and if it is no row its value."""
    grouping = task.grouping
    if grouping and name in (grouping.name, f"n_{grouping.name}"):
        return True  # labels of any type, and their number
    value, other = _array(value), _array(other)
    if value.dtype.kind != other.dtype.kind or value.shape[1:] != other.shape[1:]:
        return False
    if value.dtype.kind in "fc" and not (np.isfinite(value).all() and np.isfinite(other).all()):
        return False
    return name not in task.constants or np.array_equal(value, other)


def _same_rows(task: Any, data: Arrays, other: Arrays) -> bool:
    """Whether the rows are as many, or as many as one likes."""
    names = [n for n in data if np.ndim(_array(data[n])) and n not in task.constants]
    now, then = ([len(_array(d[n])) for n in names] for d in (data, other))
    if task.grouping or now == then:
        return True
    free = task.row_free and len({*now}) == len({*then}) == 1
    return free and min(now + then) > FEW


def _array(value: Any) -> np.ndarray:
    return np.asarray([*value.values()] if isinstance(value, Mapping) else value)


KEPT = KeptGuides()
"""Those of this process."""
