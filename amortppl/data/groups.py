"""Rows that name their group -> arrays of lines of rows, one or more a group."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.data.labels import one_label_each, plain, sorted_labels, whole_numbers
from amortppl.errors import DataError, quoted
from amortppl.task.grouped_model import Arguments

WIDTHS, NUMBERS = (4, 16, 64), (8, 32, 128)
"""Rows of a line and numbers of lines that are filled up to, powers of two beyond: few programs."""

SPARSE = 4
"""Places in lines of the largest group for each in shorter ones, from which on a group takes
several lines.
"""


class Groups(NamedTuple):
    """Where the N rows of a dataset lie in L lines of R rows each.

    Group g has line g. Where R is less than its rows, the others lie in further lines below those
    of all groups, so that few large groups do not make all others as wide.

    Attributes:
        labels: of the G groups, in the order of the first lines.
        group, place: row i of the data is row `place[i]` of group `group[i]`, (N,).
        given_labels: of the rows, as they came, N of them.
    """

    labels: list[Any]
    group: np.ndarray
    place: np.ndarray
    given_labels: list[Any]

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each group, (G,)."""
        return np.bincount(self.group, minlength=len(self.labels))

    def lines(self) -> "Lines":
        """The lines of the groups and the places of the rows."""
        sizes, count = self.sizes, len(self.labels)
        width = line_width(sizes)
        more = further_lines(sizes, width)
        owner = np.append(np.arange(count), np.repeat(np.arange(count), more))
        begin = count + np.cumsum(more) - more
        below = begin[self.group] + self.place // width - 1
        line = np.where(self.place < width, self.group, below)
        return Lines(owner, width, line, self.place % width)


class Lines(NamedTuple):
    """Lines of rows.

    Attributes:
        owner: the group of each line, which is the line that it begins with, (L,).
        width: R.
        line, column: of each row, (N,).
    """

    owner: np.ndarray
    width: int
    line: np.ndarray
    column: np.ndarray

    def arrange(self, values: np.ndarray) -> np.ndarray:
        """(N, ...) as (L, R, ...); places without a row repeat the first of their group."""
        first = np.zeros(len(self.owner), int)
        begins = np.nonzero((self.column == 0) & (self.owner[self.line] == self.line))[0]
        first[self.line[begins]] = begins
        source = np.repeat(first[self.owner][:, None], self.width, 1)
        source[self.line, self.column] = np.arange(len(self.line))
        return values[source]

    def counts(self) -> np.ndarray:
        """Which places hold a row, (L, R): 0 and 1 as decimals, or, where groups have further
        lines, whole numbers (`amortppl.task.grouped_model.owners`).
        """
        above = np.arange(len(self.owner)) - self.owner
        kind = np.int32 if above.any() else np.float32
        counts = np.zeros((len(self.owner), self.width), kind)
        counts[self.line, self.column] = 1 + above[self.line]
        return counts

    def rows(self, arranged: np.ndarray) -> np.ndarray:
        """(L, R, ...) as the rows of the data, (N, ...)."""
        return arranged[self.line, self.column]


def line_width(sizes: np.ndarray) -> int:
    """R: the rows of the largest group, filled up; less where most places would be empty.

    >>> line_width(np.array([3, 12, 1])), line_width(np.array([5000] + [3] * 5000))
    (16, 4)
    """
    widest = filled(int(max(sizes.max(), 1)), WIDTHS)
    widths = [w for w in (*WIDTHS, *(1 << i for i in range(7, 40))) if w <= widest]
    places = [filled(len(sizes) + further_lines(sizes, w).sum(), NUMBERS) * w for w in widths]
    if places[-1] <= SPARSE * max(min(places), NUMBERS[-1] * WIDTHS[1]):
        return widest
    return widths[int(np.argmin(places))]


def further_lines(sizes: np.ndarray, width: int) -> np.ndarray:
    """Lines that each group has beside its first, (G,)."""
    return np.maximum(-(-sizes // width) - 1, 0)


def filled(number: int, few: Sequence[int]) -> int:
    """The least of some numbers that is as large, or of powers of two beyond.

    >>> filled(3, NUMBERS), filled(33, NUMBERS), filled(129, NUMBERS)
    (8, 128, 256)
    """
    return next((n for n in few if n >= number), 1 << (int(number) - 1).bit_length())


def read_groups(values: Any, name: str, labels: Sequence[Any] | None = None) -> Groups:
    """The groups of rows from their labels.

    Args:
        values: a label for each row: text, whole numbers, categories or any that can be sorted.
            Categories without rows are groups too.
        name: the argument, for messages.
        labels: all groups, in order; by default those that occur, sorted.

    Raises:
        DataError: a label is missing, no whole number, more than one, or none of `labels`.
    """
    series = one_label_each(values, name)
    given_labels = series.tolist()
    missing = np.asarray(series.isna())
    if missing.any():
        raise DataError(
            f"data: {name!r} has no label at row {int(missing.argmax())}; {int(missing.sum())} of "
            f"{len(series)} are missing. Leave out these rows, or give them a group of their own"
        )
    if isinstance(series.dtype, pd.CategoricalDtype):
        labels = list(series.cat.categories) if labels is None else labels
        series = series.astype(series.cat.categories.dtype)
    series = whole_numbers(series, name)
    index = sorted_labels(series, name) if labels is None else pd.Index(labels)
    group = index.get_indexer(pd.Index(series))
    if (group < 0).any():
        row = int((group < 0).argmax())
        examples = (
            f"{quoted(map(str, index[:3]))}, ..." if len(index) > 3 else quoted(map(str, index))
        )
        raise DataError(
            f"data: {name!r} holds {plain(series.iloc[row])!r} at row {row}, which is none of the "
            f"{len(index)} groups ({examples})"
        )
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(index)))
    place = np.empty(len(group), int)
    place[order] = np.arange(len(group)) - starts[group[order]]
    return Groups([plain(v) for v in index], group.astype(np.int64), place, given_labels)


def known_labels(
    data: Mapping[str, Any], names: Arguments
) -> tuple[dict[str, Any], Sequence[Any] | None]:
    """The data without the number of groups, and all groups where the data say which there are.

    They do where they hold the number of groups, or arrays of one value a group beside labels
    that are whole numbers from 0 on.

    Args:
        data: by argument.
        names: of the arguments.

    Raises:
        DataError: the number is none, or the labels are not 0, 1, ... below it.
    """
    own = {n: v for n, v in data.items() if n != names.number}
    if names.number in data:
        return own, counted_labels(names.index, own.get(names.index, ()), data[names.number])
    labels = np.atleast_1d(np.asarray(own.get(names.index, ())))
    sizes = {len(v) for n in names.whole if (v := own.get(n)) is not None and _by_place(v)}
    sizes -= {len(labels)}
    counted = labels.dtype.kind in "iu" and labels.min(initial=0) >= 0
    return own, range(sizes.pop()) if len(sizes) == 1 and counted else None


def counted_labels(name: str, labels: Any, number: Any) -> Sequence[Any] | None:
    """All groups of which data give the number: 0, 1, ...; None where labels say which there are.

    Args:
        name: the argument with the labels.
        labels: of the rows.
        number: how many groups there are.

    Raises:
        DataError: that is no whole number, or labels of another kind are not as many.

    >>> counted_labels("school", [0, 2], 4), counted_labels("school", ["a", "b"], 2)
    (range(0, 4), None)
    """
    array = np.asarray(number)
    if array.ndim or array.dtype.kind not in "iuf" or not (array >= 1 and array == array // 1):
        raise DataError(
            f"data: 'n_{name}' should be how many groups of {name!r} there are, one whole number "
            f"from 1 up, got {number!r}. Leave it out: labels are counted"
        )
    if pd.api.types.is_numeric_dtype(getattr(labels, "dtype", np.asarray(labels).dtype)):
        return range(int(array))
    found = len(read_groups(labels, name).labels)
    if found == array:
        return None
    raise DataError(
        f"data: 'n_{name}' says {int(array)} groups, and the labels in {name!r} are {found}. Leave "
        f"it out: labels are counted. Groups without rows are categories: pandas.Categorical("
        f"{name}, categories=[...])"
    )


def _by_place(values: Any) -> bool:
    """Whether values are told apart by their place, not by a label."""
    return not isinstance(values, pd.Series | Mapping) and np.ndim(values) > 0


def one_a_group(name: str, values: Any, groups: Groups, index: str) -> np.ndarray:
    """One value a group, (G, ...), from rows that repeat it, by label, or in the groups' order.

    Raises:
        DataError: rows of a group differ, a label is missing, or there are other than rows or
            groups.
    """
    labels, rows = groups.labels, len(groups.group)
    by_label = isinstance(values, Mapping) or (
        isinstance(values, pd.Series) and len(values) != rows
    )
    if by_label:
        absent = [g for g in labels if g not in values]
        if absent:
            raise DataError(f"data: {name!r} has no value for the {index} {absent[0]!r}")
        return np.asarray([values[g] for g in labels])
    array = np.asarray(values)
    if len(array) == rows:
        return _equal_in_groups(name, array, groups, index)
    if len(array) == len(labels) and labels == list(range(len(labels))):
        return array
    raise DataError(
        f"data: {name!r} has one value for each {index}: expected {rows} rows that repeat it, or "
        f"a dict (or Series) by label, got {len(array)} values for {len(labels)} groups"
    )


def _equal_in_groups(name: str, array: np.ndarray, groups: Groups, index: str) -> np.ndarray:
    begins, first = groups.place == 0, np.zeros(len(groups.labels), int)
    first[groups.group[begins]] = np.nonzero(begins)[0]
    of_group = array[first]
    like = of_group[groups.group]
    same = (array == like) | ((array != array) & (like != like))
    unlike = np.nonzero(~same.reshape(len(array), -1).all(1))[0]
    if len(unlike):
        at = groups.group[unlike].min()
        row = unlike[groups.group[unlike] == at][0]
        raise DataError(
            f"data: {name!r} has one value for each {index}, but differs among the rows of "
            f"{groups.labels[at]!r} ({of_group[at]} and {array[row]}). If "
            f"it belongs to the rows, take it out of by_group; if a group is split by it, give "
            "each part a label of its own"
        )
    empty = groups.sizes == 0
    if empty.any():
        raise DataError(
            f"data: {name!r} has one value for each {index}, but {groups.labels[empty.argmax()]!r} "
            f"has no rows that could tell it; give {name!r} by label"
        )
    return of_group
