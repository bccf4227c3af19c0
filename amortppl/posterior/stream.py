"""Inference at constant memory: mini-batches in turn, a block of them in a compiled call."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import Any

from amortppl.data.batches import Batches, Block
from amortppl.data.several_groups import refuse_parts_of_groupings
from amortppl.data.sources.identity import refuse_seen
from amortppl.errors import DataError, GuideError, OutOfRangeWarning
from amortppl.method import refuse_parts
from amortppl.posterior.group_stream import stream_groups
from amortppl.posterior.state import Place, State, expect_own_guide
from amortppl.posterior.stream_steps import count_rows, through
from amortppl.runtime.outputs import expect_kept, expect_output
from amortppl.runtime.progress import Progress
from amortppl.training.trained import TrainedMethod

ROWS = 65_536
"""Rows in a block, about: so many that calls cost little, so few that they take little memory."""

MOST = 1024
"""Mini-batches in a block, at most."""

LOOKED = 512
"""Rows of each block that are compared with the ranges trained on, until some lie outside."""

SAVED = 10.0
"""Seconds between two savings of the state."""


def stream(
    guide: TrainedMethod,
    batches: Batches,
    state: State,
    *,
    passes: int = 1,
    every: int | None = None,
    keep: str | Path | None = None,
    progress: bool = True,
    begun: Callable[[Any], object] = lambda _: None,
) -> Iterator[State]:
    """Refines a state over the mini-batches of a source; see `Guide.stream`.

    Args:
        guide, batches, state, passes, every, keep, progress: as in `Guide.stream`.
        begun: called with zeros like the value of a new state once its shape is known, to compile
            what needs it while the first block runs.
    """
    refuse_parts(guide.method)
    refuse_parts_of_groupings(guide.task)
    expect_own_guide(guide, state)
    if passes < 1:
        raise DataError(f"passes: expected at least 1, got {passes}")
    if every is not None and every < 1:
        raise DataError(f"every: expected at least 1 row, got {every}")
    if guide.task.ordered:
        batches = batches.in_order(guide.task.name)
        if passes > 1 and state.rows and state.place.done:
            raise GuideError(
                f"passes: the rows of {guide.task.name} follow one another, and a further pass "
                f"begins at the first row, which is not in this source; ask for passes=1"
            )
    coming = tuple(batches.files())
    if state.place.done:
        for grown in refuse_seen(state.sources, coming):
            warnings.warn(grown, stacklevel=3)
    if keep is not None:
        expect_output(keep, [f.name for f in coming])
        expect_kept(keep, "kinds")
    if guide.task.grouping:
        for after in stream_groups(guide, batches, state, passes, every):
            if keep is not None:
                after.save(keep)
            yield after
        return
    state = _resume_point(state, batches, passes)
    saver = _Saver(keep)
    total = None if batches.rows is None else batches.rows * passes
    with Progress("rows", total, f"streaming {state.place.source}", progress) as report:
        try:
            for moment, wanted in _moments(guide, batches, state, passes, every, begun):
                state = replace(moment, sources=moment.sources + coming * moment.place.done)
                done = state.place.passes * (batches.rows or 0) + state.place.rows
                report.update(done, f"{state.rows:,} rows in {state.steps:,} mini-batches")
                saver.update(state)
                if wanted:
                    yield state
        finally:
            saver.save()


class _Saver:
    """Writes states at the ends of blocks to a file: every `SAVED` seconds, and the last one."""

    def __init__(self, path: str | Path | None) -> None:
        self.path, self.saved = path, time.monotonic()
        self.last: State | None = None

    def update(self, state: State) -> None:
        """Takes note of a state, and writes it when it is time."""
        place = state.place
        if not place.done and place.rows % place.block:
            return
        self.last = state
        if time.monotonic() - self.saved > SAVED:
            self.save()
            self.saved = time.monotonic()

    def save(self) -> None:
        """Writes the last state at the end of a block."""
        if self.path is not None and self.last is not None:
            self.last.save(self.path)


def _resume_point(state: State, batches: Batches, passes: int) -> State:
    """The state before the next row.

    That is at the start of a new source, or where a pass over this one stopped.
    """
    place = state.place
    if place.done:
        block = batches.size * min(max(1, ROWS // batches.size), MOST)
        if batches.rows is not None:
            # A power of two of mini-batches: few shapes, and the empty ones cost next to nothing.
            count = -(-batches.rows // batches.size)
            block = min(block, batches.size << (max(count, 1) - 1).bit_length())
        return replace(state, since=state.value, place=Place(batches.name, 0, 0, block, False))
    if place.source != batches.name:
        raise GuideError(
            f"state: it stopped after {place.rows} rows of pass {place.passes + 1} over "
            f"{place.source}, and this is {batches.name}; finish that source first, or start a new "
            "state"
        )
    if place.rows % batches.size or place.block % batches.size:
        raise GuideError(
            f"state: it stopped after {place.rows} rows in blocks of {place.block}, which are not "
            f"whole mini-batches of {batches.size}; go on with the size it was begun with"
        )
    if passes <= place.passes:
        raise GuideError(
            f"passes: pass {place.passes + 1} over {place.source} is under way, got passes={passes}"
        )
    return replace(state, place=replace(place, block=gcd(place.block, place.rows) or place.block))


def _moments(
    guide: TrainedMethod,
    batches: Batches,
    state: State,
    passes: int,
    every: int | None,
    begun: Callable[[Any], object],
) -> Iterator[tuple[State, bool]]:
    """States after every block and at every moment asked for, and whether it is one of these."""
    for number in range(state.place.passes, passes):
        if number and not state.place.rows:
            begun_again = guide.method.start_pass(state.value, state.since)
            state = replace(state, value=begun_again, before=None, stamp=None)
        count, skip = state.place.block // batches.size, state.place.rows
        blocks = batches.blocks(guide.task, count, skip, after=state.stamp)
        for block, last in _mark_last(blocks):
            if not (state.outside or number):
                state = replace(state, outside=_outside(guide, block))
            for after, wanted in through(guide, state, block, batches.size, every, begun):
                ends = last and after.place.rows == block.start + count_rows(block)
                yield after, wanted and not (ends and number == passes - 1)
            state = after
        done = number == passes - 1
        change = {"done": True} if done else {"passes": number + 1, "rows": 0}
        state = replace(state, place=replace(state.place, **change))
        yield state, done


def _outside(guide: TrainedMethod, block: Block) -> tuple[str, ...]:
    """Notes on what of a block's first rows lies outside the ranges trained on, with warnings."""
    rows = min(LOOKED, count_rows(block))
    outside = guide.ranges.values_outside({n: v[:rows] for n, v in block.arrays.items()})
    notes = tuple(f"in {rows} rows from row {block.start} on, {what}" for what in outside)
    for note in notes:
        warnings.warn(note, OutOfRangeWarning, stacklevel=2)
    return notes


def _mark_last(blocks: Iterator[Block]) -> Iterator[tuple[Block, bool]]:
    """Each block, and whether it is the last."""
    held = next(blocks, None)
    while held is not None:
        following = next(blocks, None)
        yield held, following is None
        held = following
