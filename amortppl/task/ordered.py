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

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask

MOST, STEPS = 12, 48
"""Rows back that are looked for, and rows of the series in which they are."""

CHANGED, CUT = (6, 13, 20), 30
"""Rows that are changed one at a time, and where the end of the series begins."""

FAR = 512
"""Rows of one longer series, whose second half is compared with a run that begins there."""

TRIES, TOLERANCE = 2, 1e-5
"""Simulated series, and the relative change of a log density that is rounding."""


def expect_series(name: str, ordered: bool | str | None, block: bool, groups: Any) -> None:
    """Refuses to call anything a series that has no free rows.

    Raises:
        ModelError: the data are one block, or lie in groups.
    """
    if ordered and (block or groups):
        what = "lie in groups" if groups else "are one block (rows=None)"
        raise ModelError(
            f"ordered: {ordered!r} is for rows that follow one another, and the data of {name} "
            f"{what}. Give the range of lengths, as in rows=(50, 500)"
        )


def find_memory(task: AbstractTask) -> int | None:
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
        if not _holds_from(task, vector, data, farthest, CUT):
            return None
    return farthest if _holds_far(task, farthest) else None


def expect_derivatives(task: AbstractTask) -> None:
    """Raises:
    ModelError: the density has no derivatives in forward mode, as of JAX's own `odeint`.
    """

    def along(key: Array) -> Any:
        vector, data = _series(task, key, task.probe_rows[0])
        return jax.jvp(lambda v: task.log_densities(v, data), (vector,), (vector,))

    try:
        jax.jit(along).lower(seed_key(0))  # only lowering refuses it
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise ModelError(
            f"{task.name}: its density has no derivatives in forward mode ({error}), as where "
            "jax.experimental.ode.odeint solves an equation. Solve it by steps in a scan "
            "(Runge-Kutta), or by diffrax with adjoint=diffrax.DirectAdjoint()"
        ) from error


def _series(task: AbstractTask, key: Array, rows: int = STEPS) -> tuple[Array, dict[str, Array]]:
    draw = task.simulate(key, rows)
    return draw.latents, draw.data


def _holds_far(task: AbstractTask, memory: int) -> bool:
    """Whether no row looks back beyond the few rows looked at, as by a season of a year's weeks."""
    rows = min((task.rows or (1, STEPS))[1], FAR)
    if rows <= STEPS:
        return True
    vector, data = evaluate(lambda k: _series(task, k, rows), fold_in(seed_key(29), 2 * TRIES))
    return _holds_from(task, vector, data, memory, rows // 2)


def _reach(
    task: AbstractTask,
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
    task: AbstractTask, vector: np.ndarray, data: Mapping[str, np.ndarray], memory: int, cut: int
) -> bool:
    """Whether the rows from `cut` on, with `memory` rows before them, have the densities of the
    whole.
    """
    end = {n: v[cut - memory :] for n, v in data.items()}
    whole = evaluate(lambda d: _rows(task, vector, d), dict(data))[cut:]
    alone = evaluate(lambda d: _rows(task, vector, d), end)[memory:]
    return bool(np.all(np.abs(alone - whole) <= TOLERANCE * (np.abs(whole) + 1.0)))


def is_sequential(task: AbstractTask) -> bool:
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


def _rows(task: AbstractTask, vector: np.ndarray, data: Mapping[str, Array]) -> Array:
    return task.density.joint(jnp.asarray(vector), data, {}, {})[1]
