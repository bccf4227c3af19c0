"""Inference at constant memory: mini-batches in turn, a block of them in a compiled call."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import Any

import jax
import numpy as np

from amortppl.data.batches import Batches, Block
from amortppl.data.sources.identity import refuse_seen
from amortppl.errors import DataError, GuideError, OutOfRangeWarning
from amortppl.method import Method, refuse_parts
from amortppl.posterior.group_stream import stream_groups
from amortppl.posterior.series_stream import last_rows, lay_out_in_order, lead_of
from amortppl.posterior.state import Place, State, expect_own_guide
from amortppl.runtime.compilation import Compiled, jit_unoptimized
from amortppl.runtime.outputs import expect_kept, expect_output
from amortppl.runtime.progress import Progress
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod

ROWS = 65_536
"""Rows in a block, about: so many that calls cost little, so few that they take little memory."""

MOST = 1024
"""Mini-batches in a block, at most."""

FIRST = 128
"""Rows of the first step, at least.

From a handful the search would find a frame far from Gaussian."""

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
            state = replace(state, value=begun_again, before=None)
        blocks = batches.blocks(guide.task, state.place.block // batches.size, state.place.rows)
        for block, last in _mark_last(blocks):
            if not (state.outside or number):
                state = replace(state, outside=_outside(guide, block))
            for after, wanted in _through(guide, state, block, batches.size, every, begun):
                ends = last and after.place.rows == block.start + _rows(block)
                yield after, wanted and not (ends and number == passes - 1)
            state = after
        done = number == passes - 1
        change = {"done": True} if done else {"passes": number + 1, "rows": 0}
        state = replace(state, place=replace(state.place, **change))
        yield state, done


def _outside(guide: TrainedMethod, block: Block) -> tuple[str, ...]:
    """Notes on what of a block's first rows lies outside the ranges trained on, with warnings."""
    rows = min(LOOKED, _rows(block))
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


def _rows(block: Block) -> int:
    return len(next(iter(block.arrays.values())))


def _through(
    guide: TrainedMethod,
    state: State,
    block: Block,
    size: int,
    every: int | None,
    begun: Callable[[Any], object],
) -> Iterator[tuple[State, bool]]:
    """The states on the way through a block that are asked for, and the one after it."""
    if guide.task.ordered:
        yield from _through_in_order(guide, state, block, size, every, begun)
        return
    minis, rows = lay_out(block, size, state.place.block // size), _rows(block)
    stops, crossed = _stops(block, size, every)
    value, wanted = state.value, bool(crossed[:-1].any())
    if not state.steps:
        first = min(-(-FIRST // size), minis.mask.shape[0])
        begin = jax.tree.map(lambda a: a[:first].reshape(-1, *a.shape[2:]), minis)
        minis = Batch(minis.data, minis.mask & (np.arange(len(minis.mask)) >= first)[:, None])
        after = _first_step.compile_ahead(guide.method, value, begin)
        _advance.compile_ahead(guide.method, after, minis, wanted)
        begun(after)
        value = _first_step(guide.method, value, begin)
    value, along = _advance(guide.method, value, minis, wanted)
    for i in np.flatnonzero(np.append(crossed[:-1], True)):
        last = i == len(stops) - 1
        at = value if last else jax.tree.map(lambda a, i=i: a[i], along)
        yield _state_at(state, block, at, int(stops[i]), int(i)), bool(crossed[i])


def _stops(block: Block, size: int, every: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a block after each mini-batch, and whether a state is wanted there."""
    rows = _rows(block)
    stops = np.minimum(size * np.arange(1, -(-rows // size) + 1), rows)
    before = np.append(0, stops[:-1])
    return stops, (stops + block.start) // (every or 1) > (before + block.start) // (every or 1)


def _state_at(state: State, block: Block, value: Any, stop: int, number: int) -> State:
    """The state after the first `stop` rows of a block, its mini-batch `number`."""
    counted = state.place.passes == 0
    return replace(
        state,
        value=value,
        rows=state.rows + stop * counted,
        steps=state.steps + (number + 1) * counted,
        place=replace(state.place, rows=block.start + stop),
    )


def _through_in_order(
    guide: TrainedMethod,
    state: State,
    block: Block,
    size: int,
    every: int | None,
    begun: Callable[[Any], object],
) -> Iterator[tuple[State, bool]]:
    """`_through` for a series, whose mini-batches come behind the rows that they look back at."""
    steps, first, value = state.place.block // size, 0, state.value
    stops, crossed = _stops(block, size, every)
    if not state.steps:
        first = min(-(-FIRST // size), steps)
        rows = int(stops[min(first, len(stops)) - 1])
        head = jax.tree.map(lambda a: a[0], lay_out(_head(block, rows), size * first, 1))
        value = _first_step(guide.method, value, head)
        begun(jax.tree.map(np.zeros_like, value))
    lead = lead_of(guide, state, block.arrays, value, first * size)
    minis = lay_out_in_order(block.arrays, state.before, lead, size, steps)
    if first:
        minis = Batch(minis.data, minis.mask & (np.arange(steps) >= first)[:, None])
    value, along = _advance(guide.method, value, minis, bool(crossed[:-1].any()))
    for i in np.flatnonzero(np.append(crossed[:-1], True)):
        last, stop = i == len(stops) - 1, int(stops[i])
        at = value if last else jax.tree.map(lambda a, i=i: a[i], along)
        rows = {n: v[:stop] for n, v in block.arrays.items()}
        after = _state_at(state, block, at, stop, int(i))
        kept = last_rows(rows, state.before, lead)
        yield replace(after, lead=lead, before=kept), bool(crossed[i])


def _head(block: Block, rows: int) -> Block:
    return block._replace(arrays={n: v[:rows] for n, v in block.arrays.items()})


def lay_out(block: Block, size: int, steps: int) -> Batch:
    """A block's rows as K mini-batches of B rows, (K, B, ...).

    A short block is filled with its first row, masked.
    """
    rows, full = _rows(block), steps * size

    def shape(array: np.ndarray) -> np.ndarray:
        if rows < full:
            array = np.concatenate(
                [array, np.broadcast_to(array[:1], (full - rows, *array.shape[1:]))]
            )
        return array.reshape(steps, size, *array.shape[1:])

    mask = (np.arange(full) < rows).reshape(steps, size)
    return Batch({n: shape(v) for n, v in block.arrays.items()}, mask)


@jit_unoptimized
def _first_step(method: Method, value: Any, batch: Batch) -> Any:
    """The value after the first step of a stream."""
    return method.step(value, batch)


@Compiled
def _advance(method: Method, value: Any, minis: Batch, along: bool) -> tuple[Any, Any]:
    """The value after K mini-batches, and after each of them when these are wanted."""

    def advance(value: Any, mini: Batch) -> tuple[Any, Any]:
        after = method.step(value, mini)
        return after, after if along else None

    return jax.lax.scan(advance, value, minis)
