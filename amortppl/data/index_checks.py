"""Which inputs a model uses as an index, and how large each may be.

JAX takes an index of -1 as the last and one beyond the end as the end, so that an unknown group
would be answered as the last one in silence. The model's own program says which inputs these are:
those of whole numbers that reach the index of a gather through whole-number arithmetic alone, as in
`a[group]` or `a[group - 1]`. What the model does otherwise with a whole number (compare, multiply,
clip) is its own affair.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.extend.core import Literal

from amortppl.data.checks import HERE, Where, column_of
from amortppl.errors import DataError, ModelError
from amortppl.task.abstract import AbstractTask

Function = Callable[[np.ndarray], np.ndarray]

SAME = (
    "convert_element_type", "reshape", "squeeze", "broadcast_in_dim", "expand_dims", "copy",
    "stop_gradient", "transpose", "slice", "copy_p",
)  # fmt: skip
"""Operations that give the same numbers, perhaps in another shape."""

ARITHMETIC = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


class Index(NamedTuple):
    """An input used as an index.

    Attributes:
        of: its value in the data -> the index that the model makes of it.
        size: how many there are to point at.
    """

    of: Function
    size: int


class _Known(NamedTuple):
    """What a variable of the program is: an input's numbers, or whether they are negative."""

    name: str
    of: Function
    negative: bool = False


_FOUND: WeakKeyDictionary[AbstractTask, dict[str, list[Index]]] = WeakKeyDictionary()


def indices(task: AbstractTask) -> dict[str, list[Index]]:
    """The inputs that a task's model uses as an index, with all that they point at.

    A rule that the task's own simulated inputs break is none: the model means something else.
    """
    if task not in _FOUND:
        _FOUND[task] = _find(task)
    return _FOUND[task]


def _find(task: AbstractTask) -> dict[str, list[Index]]:
    whole = {
        n: s
        for n, s in task.rows_like.items()
        if n in task.inputs and np.dtype(s.dtype).kind == "i"
    }
    if not whole:
        return {}
    vector = jnp.zeros(task.latents.size)
    try:
        closed = jax.make_jaxpr(lambda d: _densities(task, vector, d))(task.rows_like)
    except ModelError:  # episodes, which have no model
        return {}
    uses: dict[str, list[Index]] = {n: [] for n in whole}
    names = list(jax.tree.leaves({n: n for n in task.rows_like}))
    origins = {
        v: _Known(n, lambda x: x)
        for n, v in zip(names, closed.jaxpr.invars, strict=True)
        if n in whole
    }
    _walk(closed.jaxpr, origins, uses)
    rows = max((task.rows or (1, 1))[0], 2048 if not task.block else 1)
    simulated = task.input_rows(jr.key(0), rows)
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


def _walk(program: Any, origins: dict[Any, _Known], uses: dict[str, list[Index]]) -> None:
    for step in program.eqns:
        given = [None if isinstance(v, Literal) else origins.get(v) for v in step.invars]
        if not any(given):
            continue
        if step.primitive.name == "gather" and given[1] is not None:
            _note(step, given[1], uses)
        inner = _inner(step)
        if inner is not None and len(inner.invars) == len(step.invars):
            pairs = zip(inner.invars, given, strict=True)
            below = {v: k for v, k in pairs if k is not None}
            _walk(inner, below, uses)
            results = [None if isinstance(v, Literal) else below.get(v) for v in inner.outvars]
            origins |= {v: k for v, k in zip(step.outvars, results, strict=True) if k is not None}
        elif (result := _result(step, given)) is not None:
            origins[step.outvars[0]] = result


def _inner(step: Any) -> Any:
    """The program that a step runs once, if it is one."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = step.params.get(name)
        if inner is not None and step.primitive.name not in ("while", "cond"):
            return getattr(inner, "jaxpr", inner)
    return None


def _result(step: Any, given: list[_Known | None]) -> _Known | None:
    """What a step makes of an input's numbers, where it is known."""
    name, first = step.primitive.name, given[0]
    if name in SAME:
        return first
    if name == "select_n":
        return _unwrapped(given)
    if len(given) != 2:
        return None
    place = 0 if first is not None else 1
    other, each = step.invars[1 - place], given[place]
    if given[1 - place] is not None or not isinstance(other, Literal) or each is None:
        return None
    if name == "lt" and place == 0 and np.all(np.asarray(other.val) == 0):
        return each._replace(negative=True)
    if name not in ARITHMETIC or each.negative:
        return None
    value, act = np.asarray(other.val), ARITHMETIC[name]
    if not place:
        return each._replace(of=lambda x: act(each.of(x), value))
    return each._replace(of=lambda x: act(value, each.of(x)))


def _unwrapped(given: list[_Known | None]) -> _Known | None:
    """`where(i < 0, i + size, i)`, by which JAX counts from the end, is i."""
    negative, plain = given[0], given[1]
    if negative is None or plain is None or not negative.negative:
        return None
    return plain if plain.name == negative.name else None


def _note(step: Any, index: _Known, uses: dict[str, list[Index]]) -> None:
    """Keeps a gather along one axis."""
    axes = step.params["dimension_numbers"].start_index_map
    if len(axes) != 1 or index.negative:
        return
    size = step.invars[0].aval.shape[axes[0]] - step.params["slice_sizes"][axes[0]] + 1
    uses[index.name].append(Index(index.of, size))


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
    for name, rules in indices(task).items():
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
                f"values{where.scope}; leave out the rows of groups that the guide does not know"
            )


def _allowed(rule: Index) -> str:
    first = [v for v in (0, 1) if not _outside(rule, np.array([v]))[0]]
    if not first or _outside(rule, np.array([first[0] + rule.size - 1]))[0]:
        return ""
    return f" ({first[0]} to {first[0] + rule.size - 1})"
