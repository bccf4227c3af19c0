"""Streams of groups: mini-batches of whole groups, from rows that come sorted by group.

No more is in memory than a mini-batch, the largest group and every label once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.batches import Batches
from amortppl.data.dataset import read
from amortppl.errors import DataError
from amortppl.posterior.draws import step
from amortppl.posterior.padding import pad
from amortppl.posterior.state import BY_HAND, State
from amortppl.training.trained import TrainedMethod


def stream_groups(
    guide: TrainedMethod, batches: Batches, state: State, passes: int, every: int | None
) -> Iterator[State]:
    """The state after every so many groups, and after the last, which then knows the source's files
    as seen.

    Args:
        guide: of a task of groups.
        batches: rows sorted by group, as many in a mini-batch as its `size`, and to the end of the
            last group.
        state: where to start.
        passes: how often to go through the source.
        every: groups between two states; None for every mini-batch.

    Raises:
        DataError: the rows of a group do not come together.
    """
    name, since, told = guide.task.groups.name, state.value, 0
    if batches.shuffle is not None:
        raise DataError(
            f"data: the rows of {guide.task.name} lie in groups of {name!r}, which come together: "
            f"sort them by {name!r} and pass ap.batches(..., shuffle=None)"
        )
    for number in range(passes):
        if number:
            state = replace(state, value=guide.method.start_pass(state.value, since))
        for table, last in _with_last(whole_groups(batches, name)):
            dataset = read(guide.task, table)
            value = step(guide.method, state.value, pad(guide.task, dataset))
            counts = (state.rows + dataset.rows, state.steps + 1)
            rows, steps = (state.rows, state.steps) if number else counts
            state = replace(state, value=value, rows=rows, steps=steps, place=BY_HAND)
            if last and number == passes - 1:
                yield replace(state, sources=state.sources + tuple(batches.files()))
            elif not number and rows - told >= (every or 1):
                told = rows
                yield state


def _with_last(items: Iterator[Any]) -> Iterator[tuple[Any, bool]]:
    """Each item, and whether it is the last.

    >>> list(_with_last(iter("ab")))
    [('a', False), ('b', True)]
    """
    held = next(items, None)
    if held is None:
        return
    for item in items:
        yield held, False
        held = item
    yield held, True


def whole_groups(batches: Batches, name: str) -> Iterator[Any]:
    """Mini-batches cut where groups end.

    >>> from amortppl.data.batches import batches
    >>> rows = batches({"school": ["a", "a", "b", "b", "b", "c"]}, size=3, shuffle=None)
    >>> [part["school"].tolist() for part in whole_groups(rows, "school")]
    [['a', 'a'], ['b', 'b', 'b'], ['c']]
    """
    held, seen = None, set()
    for piece in batches:
        table = piece if held is None else _join([held, piece])
        if name not in table:
            raise DataError(f"data: no {name!r}, the label of each row's group")
        labels = np.asarray(table[name])
        starts = np.r_[0, np.nonzero(labels[1:] != labels[:-1])[0] + 1]
        _expect_new(labels[starts[:-1]].tolist(), seen, name)
        last = int(starts[-1])
        if last:
            yield _rows(table, slice(0, last))
        held = _rows(table, slice(last, len(labels)))
    if held is not None:
        _expect_new(np.asarray(held[name])[:1].tolist(), seen, name)
        yield held


def _expect_new(labels: list[Any], seen: set[Any], name: str) -> None:
    """Takes note of groups whose rows have all come."""
    for label in labels:
        if label in seen:
            raise DataError(
                f"data: the rows of {label!r} come in two places of the stream; sort the source by "
                f"{name!r}, so that each group comes as a whole"
            )
        seen.add(label)


def _rows(table: Any, kept: slice) -> Any:
    if isinstance(table, pd.DataFrame):
        return table.iloc[kept]
    return {n: v[kept] for n, v in table.items()}


def _join(tables: Sequence[Any]) -> Any:
    if isinstance(tables[0], pd.DataFrame):
        return pd.concat(tables, ignore_index=True)
    return {n: np.concatenate([t[n] for t in tables]) for n in tables[0]}
