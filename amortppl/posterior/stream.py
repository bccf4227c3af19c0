"""Inference at constant memory: mini-batches one after another, a block of them in a compiled
call.
"""

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
from amortppl.errors import DataError, GuideError, OutOfRangeWarning
from amortppl.method import Method, refuse_parts
from amortppl.posterior.state import Place, State
from amortppl.runtime.compilation import Compiled, jit_unoptimized
from amortppl.runtime.progress import Progress
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod

ROWS = 65_536
"""Rows in a block, about: large enough that calls cost little, small enough to be a trifle in
memory.
"""

MOST = 1024
"""Mini-batches in a block, at most."""

FIRST = 128
"""Rows of the first step, at least: from a handful the search would find a frame far from
Gaussian.
"""

LOOKED = 512
"""Rows of each block whose values are compared with the ranges trained on, until some lie
outside.
"""

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
        begun: called with zeros like the value of a new state once its shape is known, to compile
            what needs it.
    """
    refuse_parts(guide.method)
    if passes < 1:
        raise DataError(f"passes: expected at least 1, got {passes}")
    if every is not None and every < 1:
        raise DataError(f"every: expected at least 1 row, got {every}")
    state = _resume_point(state, batches, passes)
    kept, saved = None, time.monotonic()
    total = None if batches.rows is None else batches.rows * passes
    with Progress("rows", total, f"streaming {state.place.source}", progress) as report:
        try:
            for moment, wanted in _moments(guide, batches, state, passes, every, begun):
                state = moment
                done = state.place.passes * (batches.rows or 0) + state.place.rows
                report.update(done, f"{state.rows:,} rows in {state.steps:,} mini-batches")
                kept = (
                    state if state.place.done or not state.place.rows % state.place.block else kept
                )
                if keep is not None and kept is state and time.monotonic() - saved > SAVED:
                    state.save(keep)
                    saved = time.monotonic()
                if wanted:
                    yield state
        finally:
            if keep is not None and kept is not None:
                kept.save(keep)


def _resume_point(state: State, batches: Batches, passes: int) -> State:
    """The state before the next row: at the start of a new source, or where a pass over this one
    stopped.
    """
    place = state.place
    if place.done:
        block = batches.size * min(max(1, ROWS // batches.size), MOST)
        if batches.rows is not None:
            block = min(block, batches.size * -(-batches.rows // batches.size))
        return replace(state, since=state.value, place=Place(batches.name, 0, 0, block, False))
    if place.source != batches.name:
        raise GuideError(
            f"state: it stopped after {place.rows} rows of pass {place.passes + 1} over "
            f"{place.source}, and this is "
            f"{batches.name}; finish that source first, or start a new state"
        )
    if place.rows % batches.size or place.block % batches.size:
        raise GuideError(
            f"state: it stopped after {place.rows} rows in blocks of {place.block}, which are not "
            f"whole mini-batches "
            f"of {batches.size}; go on with the size it was begun with"
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
            state = replace(state, value=guide.method.start_pass(state.value, state.since))
        blocks = batches.blocks(guide.task, state.place.block // batches.size, state.place.rows)
        for block, last in _mark(blocks):
            state = (
                state if state.outside or number else replace(state, outside=_outside(guide, block))
            )
            for after, wanted in _through(guide, state, block, batches.size, every, begun):
                ends = last and after.place.rows == block.start + _rows(block)
                yield after, wanted and not (ends and number == passes - 1)
            state = after
        done = number == passes - 1
        place = (
            replace(state.place, done=True)
            if done
            else replace(state.place, passes=number + 1, rows=0)
        )
        state = replace(state, place=place)
        yield state, done


def _outside(guide: TrainedMethod, block: Block) -> tuple[str, ...]:
    """What of a block's first rows lies outside the ranges trained on, with a warning."""
    looked = min(LOOKED, _rows(block))
    found = guide.ranges.values_outside({n: v[:looked] for n, v in block.arrays.items()})
    said = tuple(f"in {looked} rows from row {block.start} on, {s}" for s in found)
    for note in said:
        warnings.warn(note, OutOfRangeWarning, stacklevel=2)
    return said


def _mark(blocks: Iterator[Block]) -> Iterator[tuple[Block, bool]]:
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
    minis, rows = _lay_out(block, size, state.place.block // size), _rows(block)
    stops = np.minimum(size * np.arange(1, -(-rows // size) + 1), rows)
    before = np.append(0, stops[:-1])
    crossed = (stops + block.start) // (every or 1) > (before + block.start) // (every or 1)
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
    for i, stop in enumerate(stops):
        last = i == len(stops) - 1
        if not (crossed[i] or last):
            continue
        at = value if last else jax.tree.map(lambda a, i=i: a[i], along)
        first = state.place.passes == 0
        yield replace(
            state, value=at, rows=state.rows + int(stop) * first, steps=state.steps + (i + 1) * first,
            place=replace(state.place, rows=block.start + int(stop)),
        ), bool(crossed[i])  # fmt: skip


def _lay_out(block: Block, size: int, steps: int) -> Batch:
    """A block's rows as K mini-batches of B, (K, B, ...); a short one is filled with its first row,
    masked.
    """
    rows, full = _rows(block), steps * size

    def shaped(array: np.ndarray) -> np.ndarray:
        if rows < full:
            array = np.concatenate(
                [array, np.broadcast_to(array[:1], (full - rows, *array.shape[1:]))]
            )
        return array.reshape(steps, size, *array.shape[1:])

    mask = (np.arange(full) < rows).reshape(steps, size)
    return Batch({n: shaped(v) for n, v in block.arrays.items()}, mask)


@jit_unoptimized
def _first_step(method: Method, value: Any, batch: Batch) -> Any:
    """One a stream."""
    return method.step(value, batch)


@Compiled
def _advance(method: Method, value: Any, minis: Batch, along: bool) -> tuple[Any, Any]:
    """The value after K mini-batches, and after each of them when these are wanted."""

    def advance(value: Any, mini: Batch) -> tuple[Any, Any]:
        after = method.step(value, mini)
        return after, after if along else None

    return jax.lax.scan(advance, value, minis)
