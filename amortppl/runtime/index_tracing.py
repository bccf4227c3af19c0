"""Which inputs of a JAX program are used as the index of an array.

Leans on how JAX writes a program down: `jax.extend.core.Literal`, the names of its primitives, the
parameters `dimension_numbers` and `slice_sizes` of `gather`, the parameters that hold an inner
program, and `where(i < 0, i + size, i)` for an index that counts from the end. No public interface
tells what a function indexes. Checked with JAX 0.12.0.1; tests/runtime/test_internals.py fails
where a program is written otherwise.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Literal

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
        of: its value -> the index that the program makes of it.
        size: how many there are to point at.
    """

    of: Function
    size: int


class _Origin(NamedTuple):
    """What a variable of the program is: an input's numbers, or whether they are negative."""

    name: str
    of: Function
    negative: bool = False


def trace_indices(
    function: Callable[[dict[str, jax.Array]], Any],
    like: dict[str, jax.ShapeDtypeStruct],
    names: Sequence[str],
) -> dict[str, list[Index]]:
    """All that a function uses inputs of whole numbers for as an index, by input.

    An input counts where it reaches the index of a gather through whole-number arithmetic alone.

    Args:
        function: of a dict of arrays.
        like: the shapes and types of the arrays.
        names: those to look at.

    Raises:
        Whatever the function raises when it is traced.

    Example:
        >>> import jax.numpy as jnp
        >>> effects = jnp.zeros(3)
        >>> like = {"group": jax.ShapeDtypeStruct((8,), "int32")}
        >>> [use] = trace_indices(lambda d: effects[d["group"] - 1], like, ["group"])["group"]
        >>> use.size, use.of(np.array([1, 2, 3]))
        (3, array([0, 1, 2]))
    """
    closed = jax.make_jaxpr(function)(like)
    uses: dict[str, list[Index]] = {n: [] for n in names}
    origins = {
        v: _Origin(n, lambda x: x)
        for n, v in zip(jax.tree.leaves({n: n for n in like}), closed.jaxpr.invars, strict=True)
        if n in uses
    }
    _walk(closed.jaxpr, origins, uses)
    return uses


def _walk(program: Any, origins: dict[Any, _Origin], uses: dict[str, list[Index]]) -> None:
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


def _result(step: Any, given: list[_Origin | None]) -> _Origin | None:
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


def _unwrapped(given: list[_Origin | None]) -> _Origin | None:
    """`where(i < 0, i + size, i)`, by which JAX counts from the end, is i."""
    negative, plain = given[0], given[1]
    if negative is None or plain is None or not negative.negative:
        return None
    return plain if plain.name == negative.name else None


def _note(step: Any, index: _Origin, uses: dict[str, list[Index]]) -> None:
    """Keeps a gather along one axis."""
    axes = step.params["dimension_numbers"].start_index_map
    if len(axes) != 1 or index.negative:
        return
    size = step.invars[0].aval.shape[axes[0]] - step.params["slice_sizes"][axes[0]] + 1
    uses[index.name].append(Index(index.of, size))
