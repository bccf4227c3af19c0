"""A block of a stream: its mini-batches in one compiled call, and the states on the way."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from amortppl.data.batches import Block
from amortppl.method import Method
from amortppl.posterior.series_stream import last_rows, lay_out_in_order, lead_of
from amortppl.posterior.state import State
from amortppl.runtime.compilation import Compiled, jit_unoptimized
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod


def count_rows(block: Block) -> int:
    """Rows of a block."""
    return len(next(iter(block.arrays.values())))


def through(
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
    minis = lay_out(block, size, state.place.block // size)
    stops, crossed = _stops(block, size, every)
    value, wanted = state.value, bool(crossed[:-1].any())
    first = _opening(guide, state, size)
    if first:
        begin = jax.tree.map(lambda a: a[:first].reshape(-1, *a.shape[2:]), minis)
        minis = Batch(minis.data, minis.mask & (np.arange(len(minis.mask)) >= first)[:, None])
        after = _first_step.compile_ahead(guide.method, value, begin)
        _advance.compile_ahead(guide.method, after, minis, wanted)
        begun(after)
        for i in np.flatnonzero(crossed[: first - 1]):
            early = Batch(begin.data, begin.mask & (np.arange(len(begin.mask)) < stops[i]))
            at = _first_step(guide.method, value, early)
            yield _state_at(state, block, at, int(stops[i]), int(i)), True
        value = _first_step(guide.method, value, begin)
    value, along = _advance(guide.method, value, minis, wanted)
    for i in _later(crossed, first):
        last = i == len(stops) - 1
        at = value if last else jax.tree.map(lambda a, i=i: a[i], along)
        yield _state_at(state, block, at, int(stops[i]), int(i)), bool(crossed[i])


def _opening(guide: TrainedMethod, state: State, size: int) -> int:
    """Mini-batches of a block that a new state's first step takes at once; 0 where it goes on."""
    if state.steps:
        return 0
    return min(-(-guide.method.opening // size), state.place.block // size)


def _later(crossed: np.ndarray, first: int) -> np.ndarray:
    """Mini-batches from the end of the first step on after which a state is wanted."""
    places = np.flatnonzero(np.append(crossed[:-1], True))
    return places[(places >= first - 1) | (places == len(crossed) - 1)]


def _stops(block: Block, size: int, every: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a block after each mini-batch, and whether a state is wanted there."""
    rows = count_rows(block)
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
    steps, value = state.place.block // size, state.value
    stops, crossed = _stops(block, size, every)
    first, early = _opening(guide, state, size), []
    if first:
        begin = lambda stop: jax.tree.map(  # noqa: E731
            lambda a: a[0], lay_out(_head(block, stop), size * first, 1)
        )
        wanted = np.flatnonzero(crossed[: first - 1])
        early = [(i, _first_step(guide.method, value, begin(int(stops[i])))) for i in wanted]
        value = _first_step(guide.method, value, begin(int(stops[min(first, len(stops)) - 1])))
        begun(jax.tree.map(np.zeros_like, value))
    lead = lead_of(guide, state, block.arrays, value, first * size)
    minis = lay_out_in_order(block.arrays, state.before, lead, size, steps)
    if first:
        minis = Batch(minis.data, minis.mask & (np.arange(steps) >= first)[:, None])
    value, along = _advance(guide.method, value, minis, bool(crossed[:-1].any()))

    def moment(i: int, at: Any) -> tuple[State, bool]:
        stop = int(stops[i])
        kept = last_rows({n: v[:stop] for n, v in block.arrays.items()}, state.before, lead)
        after = _state_at(state, block, at, stop, int(i))
        stamp = state.stamp if block.stamps is None else block.stamps[stop - 1]
        return replace(after, lead=lead, before=kept, stamp=stamp), bool(crossed[i])

    yield from (moment(i, at) for i, at in early)
    for i in _later(crossed, first):
        last = i == len(stops) - 1
        yield moment(i, value if last else jax.tree.map(lambda a, i=i: a[i], along))


def _head(block: Block, rows: int) -> Block:
    return block._replace(arrays={n: v[:rows] for n, v in block.arrays.items()})


def lay_out(block: Block, size: int, steps: int) -> Batch:
    """A block's rows as K mini-batches of B rows, (K, B, ...).

    A short block is filled with its first row, masked.
    """
    rows, full = count_rows(block), steps * size

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
