"""Streams of a series: mini-batches in their order, each behind the rows that it looks back at.

    log p(y_s..e | y_1..s-1, theta) = log p(y_s..e | y_s-L..s-1, theta)

What crosses a cut is the posterior and the last L rows. Where the model looks back at p rows at
most, L = p and the mini-batch is an exact site. Elsewhere (a GARCH model's variance follows from
all returns before) the model forgets: L is the least power of two of rows after which a run that
begins L rows back has the densities of one that begins at the first row, at draws of the posterior.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.errors import GuideError
from amortppl.method import Method
from amortppl.posterior.draws import step
from amortppl.posterior.padding import pad
from amortppl.posterior.state import BY_HAND, State
from amortppl.runtime.compilation import Compiled
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod

LONGEST = 1024
"""Rows that are carried from mini-batch to mini-batch, at most."""

FORGOTTEN = 1e-4
"""Nats by which the densities after a cut may differ by what was forgotten before it."""

AFTER, DRAWS = 256, 8
"""Rows after a cut that are compared, and draws of the posterior at which they are."""

Rows = Mapping[str, np.ndarray]


def lead_of(
    guide: TrainedMethod, state: State, rows: Rows, value: Any, together: int = 0
) -> int:
    """L, the rows that a mini-batch looks back at: as before, once any row was left out.

    Args:
        guide: of a task whose rows follow one another.
        state: before the rows.
        rows: that come, by argument.
        value: the method's state after some of them, for draws of the posterior.
        together: how many of them are in one step, so that no cut lies between them.
    """
    kept = _count(state.before)
    if state.rows > kept:
        return state.lead
    if state.before is None:
        return carried_rows(guide, value, rows, together)
    return carried_rows(guide, value, _joined(state.before, rows), 0)


def step_in_order(guide: TrainedMethod, state: State, rows: Rows) -> State:
    """The state after one more mini-batch of a series, of any number of rows."""
    kept, whole = _count(state.before), _joined(state.before, rows)
    padded = pad(guide.task, Dataset(whole, {}))
    batch = Batch(padded.data, padded.mask & (np.arange(len(padded.mask)) >= kept))
    value = step(guide.method, state.value, batch)
    lead = lead_of(guide, state, rows, value, _count(rows))
    counts = {"rows": state.rows + _count(rows), "steps": state.steps + 1}
    before = last_rows(rows, state.before, lead)
    return replace(state, value=value, place=BY_HAND, lead=lead, before=before, **counts)


def _count(rows: Rows | None) -> int:
    return 0 if rows is None else len(next(iter(rows.values())))


def _joined(before: Rows | None, rows: Rows) -> dict[str, np.ndarray]:
    if before is None:
        return dict(rows)
    return {n: np.concatenate([before[n], v]) for n, v in rows.items()}


def carried_rows(guide: TrainedMethod, value: Any, rows: Rows, needed: int) -> int:
    """L, the rows before a mini-batch that its densities are computed with.

    Args:
        guide: of a task whose rows follow one another.
        value: the state after some rows, for draws of the posterior.
        rows: the first rows of the series.
        needed: how many rows are at hand beyond which any must be left out; fewer need no check.

    Raises:
        GuideError: rows further back than `LONGEST` matter.
    """
    task = guide.task
    if task.memory is not None:
        return task.memory
    count = _count(rows)
    if count <= max(needed, 64):
        return min(count, LONGEST)
    whole = {n: v[: 2 * LONGEST + AFTER] for n, v in rows.items()}
    count = _count(whole)
    cut = count - min(AFTER, count // 4)
    lengths = [n for n in (8 << i for i in range(8)) if n < cut]
    missed = {n: _missed(guide.method, value, whole, cut, n) for n in lengths}
    enough = [n for n, nats in missed.items() if nats <= FORGOTTEN]
    if enough:
        return enough[0]
    longest = lengths[-1]
    raise GuideError(
        f"{task.name}: a mini-batch needs the rows before it, and leaving out those more than "
        f"{longest} rows back changes the log density of the {count - cut} rows after a cut by "
        f"{missed[longest]:.2g} nats (at draws of the posterior so far), where {FORGOTTEN:g} is "
        "allowed: the model remembers its beginning (an index of time, a sum over all rows), or "
        "forgets slowly. Infer the series as a whole, or make the index of time an input"
    )


def _missed(method: Method, value: Any, rows: Rows, cut: int, lead: int) -> float:
    """The largest change over draws of the log density of the rows from `cut` on, where only `lead`
    rows before it are known.
    """
    late = {n: v[cut - lead :] for n, v in rows.items()}
    return float(_compare(method, value, dict(rows), late, cut, lead))


@Compiled
def _compare(
    method: Method, value: Any, rows: dict[str, Array], late: dict[str, Array], cut: int, lead: int
) -> Array:
    vectors = method.readout(value).sample(jr.key(7), DRAWS)[0]

    def change(vector: Array) -> Array:
        known = method.task.log_densities(vector, rows)[1][cut:]
        return jnp.sum(jnp.abs(method.task.log_densities(vector, late)[1][lead:] - known))

    return jnp.max(jax.vmap(change)(vectors))


def lay_out_in_order(rows: Rows, before: Rows | None, lead: int, size: int, steps: int) -> Batch:
    """Rows as K mini-batches of L + B rows, (K, L + B, ...): B new ones behind L that are masked.

    Where fewer than L rows come before the first ones, those behind fill the place, masked too.

    Args:
        rows: of a block, by argument.
        before: the rows before the block, if there are any.
        lead: L.
        size: B.
        steps: K.
    """
    known, whole = _count(before), _joined(before, rows)
    total = _count(whole)
    first = known + size * np.arange(steps)[:, None]
    place = np.maximum(first - lead, 0) + np.arange(lead + size)
    mask = (place >= first) & (place < np.minimum(first + size, total))
    place = np.minimum(place, total - 1)
    return Batch({n: v[place] for n, v in whole.items()}, mask)


def last_rows(rows: Rows, before: Rows | None, lead: int) -> dict[str, np.ndarray]:
    """The last L rows of those before and these."""
    late = {n: v[max(len(v) - lead, 0) :] for n, v in rows.items()}
    return {n: np.array(v[max(len(v) - lead, 0) :]) for n, v in _joined(before, late).items()}
