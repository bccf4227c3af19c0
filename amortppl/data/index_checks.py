"""Which inputs a model uses as an index, and how large each may be.

JAX takes an index of -1 as the last and one beyond the end as the end, so that an unknown group
would be answered as the last one in silence. The model's own program says which inputs these are:
those of whole numbers that reach the index of a gather through whole-number arithmetic alone, as in
`a[group]` or `a[group - 1]`. Other uses of a whole number (compared, multiplied, clipped) are not
checked.
"""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np

from amortppl.data.checks import HERE, Where, column_of
from amortppl.errors import DataError, ModelError
from amortppl.runtime.index_tracing import Index, trace_indices
from amortppl.runtime.numpy_evaluation import evaluate_once
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask

UNKNOWN = "leave out the rows of groups that the guide does not know"
NUMBERED = (
    "number the groups from 0, or clip the index in the model where other numbers mean no group"
)
"""What to do about an index that is outside."""

_INDICES: WeakKeyDictionary[AbstractTask, dict[str, list[Index]]] = WeakKeyDictionary()


def indices(task: AbstractTask) -> dict[str, list[Index]]:
    """The inputs that a task's model uses as an index, with all that they point at.

    A rule that simulated inputs of the task break is left out: there the model uses the number
    in another way.
    """
    if task not in _INDICES:
        _INDICES[task] = _that_simulated_inputs_keep(task, _find(task))
    return _INDICES[task]


def _find(task: AbstractTask) -> dict[str, list[Index]]:
    """All uses of an input as an index."""
    kinds = {n: np.dtype(s.dtype).kind for n, s in task.rows_like.items()}
    whole = [n for n in task.inputs if kinds.get(n) == "i"]
    if not whole:
        return {}
    vector = jnp.zeros(task.latents.size)
    try:
        return trace_indices(lambda d: _densities(task, vector, d), task.rows_like, whole)
    except ModelError:  # episodes, which have no model
        return {}


def _that_simulated_inputs_keep(
    task: AbstractTask, uses: dict[str, list[Index]]
) -> dict[str, list[Index]]:
    if not uses:
        return {}
    rows = max((task.rows or (1, 1))[0], 2048 if not task.block else 1)
    simulated = evaluate_once(lambda key: task.input_rows(key, rows), seed_key(0))
    return {
        n: kept
        for n, rules in uses.items()
        if (kept := [r for r in rules if not _outside(r, np.asarray(simulated[n])).any()])
    }


def _densities(task: AbstractTask, vector: jax.Array, data: Mapping[str, jax.Array]) -> Any:
    trace = task.trace_at(vector, data)
    return [_density(site) for site in trace.values() if site["type"] == "sample"]


def _density(site: dict[str, Any]) -> Any:
    try:
        return site["fn"].log_prob(site["value"])
    except NotImplementedError:  # a simulator's
        return site["value"]


def _outside(rule: Index, values: np.ndarray) -> np.ndarray:
    index = rule.of(values.astype(np.int64))
    return (index < 0) | (index >= rule.size)


def in_groups(
    task: AbstractTask,
    arrays: Mapping[str, np.ndarray],
    labels: Mapping[str, list[str]],
    where: Where = HERE,
) -> None:
    """Refuses an index that points at nothing the model has.

    Raises:
        DataError: naming the first, and the values that the model knows.
    """
    _refuse_outside(task, indices(task), arrays, labels, where, UNKNOWN)


def refuse_own_outside(task: AbstractTask, arrays: Mapping[str, np.ndarray]) -> None:
    """As `in_groups` of data that the task's inputs are resampled from, which break what they do:
    of every input that is an index as it stands.

    Raises:
        DataError: naming the first.
    """
    uses = {n: [r for r in own if _is_plain(r)] for n, own in _find(task).items()}
    _refuse_outside(task, uses, arrays, {}, HERE, NUMBERED)


def _is_plain(rule: Index) -> bool:
    some = np.arange(3)
    return bool((rule.of(some) == some).all())


def _refuse_outside(
    task: AbstractTask,
    uses: Mapping[str, list[Index]],
    arrays: Mapping[str, np.ndarray],
    labels: Mapping[str, list[str]],
    where: Where,
    cure: str,
) -> None:
    for name, rules in uses.items():
        for rule in rules:
            outside = _outside(rule, arrays[name])
            if not outside.any():
                continue
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            row = at[1] if task.block and len(at) > 1 else at[0]
            column = column_of(labels.get(name), at)
            raise DataError(
                f"data: {name!r}{column} holds {arrays[name][at]} at {where.place(row)}; the model "
                f"uses it as an index among {rule.size}{_allowed(rule)}. {int(outside.sum())} such "
                f"values{where.scope}; {cure}"
            )


def _allowed(rule: Index) -> str:
    first = [v for v in (0, 1) if not _outside(rule, np.array([v]))[0]]
    if not first or _outside(rule, np.array([first[0] + rule.size - 1]))[0]:
        return ""
    return f" ({first[0]} to {first[0] + rule.size - 1})"
