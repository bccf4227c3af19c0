"""Rows that follow one another, as those of a time series: how far back a row looks.

    log p(y_1..N | x, theta) = sum_t log p(y_t | y_1..t-1, x_1..t, theta)

The density of a row is that of the model's own site, given the rows before it. Rows behind the data
change nothing, so that series are padded at their end. Where a row looks back at p rows at most, a
piece of a series is evaluated from its own rows and the p before them:

    log p(y_t | y_1..t-1, theta) = log p(y_t | y_t-p..t-1, theta)

p is found from densities: one row is changed, and the last row that notices says how far it
reaches; then the model is run on the end of a series alone, whose rows beyond the first p must have
the densities that they have in the whole.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import fold_in, seed_key

if TYPE_CHECKING:
    from amortppl.task.abstract import AbstractTask

MOST, STEPS = 12, 48
"""Rows back that are looked for, and rows of the series in which they are."""

CHANGED, CUT = (6, 13, 20), 30
"""Rows that are changed one at a time, and where the end of the series begins."""

TRIES, TOLERANCE = 2, 1e-5
"""Simulated series, and the relative change of a log density that is rounding."""

NEW = 16
"""Rows that a window adds, at least; see `in_windows`."""

RowDensities = Callable[[Array, Mapping[str, Array]], tuple[Array, Float[Array, " N"]]]


def find_memory(task: "AbstractTask") -> int | None:
    """p, the rows before it that the density of a row depends on; None where they are more than
    `MOST`, or where it depends on its place in the series.
    """
    farthest = 0
    for number in range(TRIES):
        keys = [fold_in(seed_key(29), 2 * number + i) for i in (0, 1)]
        (vector, data), (_, other) = (evaluate(lambda k: _series(task, k), k) for k in keys)
        reach = _reach(task, vector, data, other)
        if reach is None:
            return None
        farthest = max(farthest, reach)
        if not _holds_from(task, vector, data, farthest):
            return None
    return farthest


def _series(task: "AbstractTask", key: Array) -> tuple[Array, dict[str, Array]]:
    draw = task.simulate(key, STEPS)
    return draw.latents, draw.data


def _reach(
    task: "AbstractTask",
    vector: np.ndarray,
    data: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
) -> int | None:
    """How far a change of one row reaches; None where it is farther than `MOST`."""

    def changed(row: int) -> dict[str, np.ndarray]:
        return {n: np.where(_only(row, v), other[n], v) for n, v in data.items()}

    variants = [dict(data), *map(changed, CHANGED)]
    stacked = {n: np.stack([v[n] for v in variants]) for n in data}
    before, *after = evaluate(jax.vmap(lambda d: _rows(task, vector, d)), stacked)
    size = TOLERANCE * (np.abs(before) + 1.0)
    reaches = [
        int(np.max(np.flatnonzero(np.abs(each - before) > size), initial=row)) - row
        for row, each in zip(CHANGED, after, strict=True)
    ]
    return max(reaches) if max(reaches) <= MOST else None


def _only(row: int, values: np.ndarray) -> np.ndarray:
    return (np.arange(len(values)) == row).reshape(-1, *[1] * (values.ndim - 1))


def _holds_from(
    task: "AbstractTask", vector: np.ndarray, data: Mapping[str, np.ndarray], memory: int
) -> bool:
    """Whether the end of a series with `memory` rows before it has the densities of the whole."""
    end = {n: v[CUT - memory :] for n, v in data.items()}
    whole = evaluate(lambda d: _rows(task, vector, d), dict(data))[CUT:]
    alone = evaluate(lambda d: _rows(task, vector, d), end)[memory:]
    return bool(np.all(np.abs(alone - whole) <= TOLERANCE * (np.abs(whole) + 1.0)))


def is_sequential(task: "AbstractTask") -> bool:
    """Whether the density of a series is computed by a loop over its rows."""
    rows = task.rows_like.items()
    like = {n: jax.ShapeDtypeStruct((STEPS, *s.shape[1:]), s.dtype) for n, s in rows}
    vector = jax.ShapeDtypeStruct((task.latents.size,), jnp.float32)
    program = jax.make_jaxpr(lambda v, d: task.density.joint(v, d, {}, {}))(vector, like)
    return any(e.primitive.name in ("scan", "while") for e in _equations(program.jaxpr))


def _equations(program: Any) -> Iterator[Any]:
    for equation in program.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from _equations(inner.jaxpr)


def _rows(task: "AbstractTask", vector: np.ndarray, data: Mapping[str, Array]) -> Array:
    return task.density.joint(jnp.asarray(vector), data, {}, {})[1]


class Windows(NamedTuple):
    """A series cut into K overlapping windows of M rows, and where each row is in these.

    >>> cut = Windows.of(40, memory=2)
    >>> cut.place.shape, cut.place[1, 0], cut.window[17], cut.position[17]
    ((3, 18), 14, 1, 3)
    """

    place: np.ndarray
    window: np.ndarray
    position: np.ndarray

    @classmethod
    def of(cls, rows: int, memory: int) -> "Windows":
        """Windows that add `NEW` rows or twice the memory; the last ones repeat the last row."""
        new = max(NEW, 2 * memory)
        starts = np.maximum(np.arange(-(-rows // new)) * new - memory, 0)
        place = np.minimum(starts[:, None] + np.arange(new + memory), rows - 1)
        window = np.arange(rows) // new
        return cls(place, window, np.arange(rows) - starts[window])


def in_windows(
    densities: RowDensities, memory: int, vector: Array, data: Mapping[str, Array]
) -> tuple[Array, Float[Array, " N"]]:
    """(log prior, log density of each row) from windows of the series that are run side by side.

    A model that runs through its rows one after another (`scan`) takes as many steps as a window
    has rows, and not as many as the series has.
    """
    cut = Windows.of(next(iter(data.values())).shape[0], memory)
    rows = {n: jnp.asarray(v)[cut.place] for n, v in data.items()}
    prior, own = jax.vmap(lambda d: densities(vector, d))(rows)
    return prior[0], own[cut.window, cut.position]
