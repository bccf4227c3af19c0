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
from amortppl.task.program_digest import model_digest

MOST, LARGEST = 8, 10_000_000
"""Guides kept, those that were used last, and numbers in a dataset beyond which its guide is not:
each holds its inputs and its programs."""


class Kind(NamedTuple):
    """What a program knows of an argument: its type, its shape but for the rows, how many these
    are, and whether all its numbers are finite.
    """

    type: str
    shape: tuple[int, ...]
    rows: int | None
    finite: bool

    @classmethod
    def of(cls, value: Any) -> "Kind":
        """Of one dataset's argument: an array, a table, or values by label."""
        array = _array(value)
        finite = array.dtype.kind not in "fc" or bool(np.isfinite(array).all())
        return cls(array.dtype.kind, array.shape[1:], len(array) if array.ndim else None, finite)

    def fits(self, other: "Kind") -> bool:
        """Whether both may be rows of one task."""
        return self[:2] == other[:2] and self.finite and other.finite


class Made(NamedTuple):
    """A guide, and what it was made from.

    Attributes:
        model: the function; another one of the same words is another model.
        seed: of the guide.
        labels: what else `Task` was told.
        kinds: of the dataset's arguments, in their order.
        constants: values of those that are no rows.
        grouped: the indices whose groups are counted.
        program: what the model computed (`amortppl.task.program_digest`).
    """

    model: Callable[..., Any]
    seed: int
    labels: Mapping[str, Any]
    guide: Guide
    kinds: Mapping[str, Kind]
    constants: Mapping[str, np.ndarray]
    grouped: Sequence[str]
    program: str

    def answers(
        self, model: Callable[..., Any], data: Arrays, seed: int, labels: Mapping[str, Any]
    ) -> bool:
        """Whether a guide made from this dataset would have the same task, but for its rows.

        A model may read what was changed since, as a global number, so it is traced again.
        """
        asked = (self.model is model, self.seed == seed, dict(self.labels) == dict(labels))
        if not all(asked) or [*data] != [*self.kinds]:
            return False
        task = self.guide.task
        if task.censoring or _grouped(model, data) != self.grouped:
            return False
        index = (task.grouping.name, f"n_{task.grouping.name}") if task.grouping else ()
        kinds = {n: Kind.of(v) for n, v in data.items() if n not in index}
        same = all(np.array_equal(_array(data[n]), v) for n, v in self.constants.items())
        alike = all(k.fits(self.kinds[n]) for n, k in kinds.items())
        return same and alike and self._has_rows(kinds) and self.program == model_digest(task)

    def _has_rows(self, kinds: Mapping[str, Kind]) -> bool:
        """Whether the rows are as many as before, or as many as one likes."""
        each = [n for n, k in kinds.items() if k.rows is not None and n not in self.constants]
        now, then = ([k[n].rows or 0 for n in each] for k in (kinds, self.kinds))
        task = self.guide.task
        if task.grouping or now == then:
            return True
        return task.row_free and len({*now}) == len({*then}) == 1 and min(now + then) > FEW


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
        """Keeps a guide in the place of the one that was used least recently, unless its dataset is
        large.
        """
        if sum(_array(v).size for v in data.values()) > LARGEST:
            return
        kinds = {n: Kind.of(v) for n, v in data.items()}
        # Copies, since their owner may write into them.
        constants = {n: np.array(_array(v)) for n, v in data.items() if n in guide.task.constants}
        about = (kinds, constants, _grouped(model, data), model_digest(guide.task))
        self._keep(Made(model, seed, dict(labels), guide, *about))

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


def _array(value: Any) -> np.ndarray:
    return np.asarray([*value.values()] if isinstance(value, Mapping) else value)


KEPT = KeptGuides()
"""Those of this process."""
