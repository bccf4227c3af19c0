"""Evaluates a JAX function with NumPy in float64: nothing is compiled, and nothing is computed as
XLA does.

A function that runs once on few numbers costs its tracing so, some milliseconds, where compiling it
would cost a hundred times as much. And what is asked whether XLA's float32 numbers are right should
not be computed by XLA.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from amortppl.runtime.numpy_rules import RULES

CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters under which a primitive keeps the program that it calls."""


def evaluate(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` by NumPy: a tree of NumPy arrays, float64 where the function makes
    floats.

    A primitive without a rule here is run by JAX on its own, in float32.

    Args:
        function: what JAX can trace, of trees of arrays; its random numbers are others than JAX's.
        arguments: trees of arrays.
    """
    return Traced(function, *arguments)(*arguments)


class Traced:
    """A JAX function traced once for arrays of given shapes, to be evaluated by NumPy many times.

    Args:
        function: as of `evaluate`.
        like: trees of arrays or of `jax.ShapeDtypeStruct`.
    """

    def __init__(self, function: Callable[..., Any], *like: Any) -> None:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*like)
        self.jaxpr, self.structure = closed.jaxpr, jax.tree.structure(shape)
        self.consts = [widened(c) for c in closed.consts]

    def __call__(self, *arguments: Any) -> Any:
        """The function's value by NumPy."""
        leaves = [widened(a) for a in jax.tree.leaves(arguments)]
        return jax.tree.unflatten(self.structure, _evaluated(self.jaxpr, self.consts, leaves))


def widened(value: Any) -> Any:
    """An array of NumPy's; floats as float64."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return RULES["random_wrap"](np.asarray(jax.random.key_data(value)))
    array = np.asarray(value)
    return (
        array.astype(np.float64)
        if array.dtype.kind == "f" or array.dtype.name == "bfloat16"
        else array
    )


def _run(closed: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    return _evaluated(closed.jaxpr, [widened(c) for c in closed.consts], arguments)


def _evaluated(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(
        zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True)
    )

    def read(atom: Any) -> Any:
        return widened(atom.val) if isinstance(atom, Literal) else values[atom]

    with np.errstate(all="ignore"):
        for equation in jaxpr.eqns:
            results = _applied(equation, [read(a) for a in equation.invars])
            values.update(zip(equation.outvars, results, strict=True))
    return [read(a) for a in jaxpr.outvars]


def _applied(equation: Any, given: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in CONTROL:
        return CONTROL[name](given, params)
    if name in RULES:
        results = RULES[name](*given, **params)
        return (
            results
            if equation.primitive.multiple_results
            else [_like(results, equation.outvars[0].aval)]
        )
    called = next((params[k] for k in CALLS if k in params), None)
    if called is not None:
        return (
            _run(called, given)
            if isinstance(called, ClosedJaxpr)
            else _evaluated(called, [], given)
        )
    return _by_jax(equation, given)


def _like(value: Any, aval: Any) -> Any:
    """The value with the type that JAX gives it; floats stay float64."""
    array = np.asarray(value)
    if jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return array
    # Whole numbers made floats must divide and subtract as floats do.
    return array.astype(np.float64 if jnp.issubdtype(aval.dtype, jnp.floating) else aval.dtype)


def _by_jax(equation: Any, given: list[Any]) -> Sequence[Any]:
    cast = [_narrowed(v, a.aval.dtype) for v, a in zip(given, equation.invars, strict=True)]
    results = equation.primitive.bind(*cast, **equation.params)
    return [widened(v) for v in (results if equation.primitive.multiple_results else [results])]


def _narrowed(value: Any, dtype: Any) -> jax.Array:
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(RULES["random_unwrap"](value)))
    return jnp.asarray(value, dtype)


def _while(given: list[Any], params: dict[str, Any]) -> Sequence[Any]:
    one, two = params["cond_nconsts"], params["body_nconsts"]
    test, body, carry = given[:one], given[one : one + two], given[one + two :]
    while np.any(going := np.asarray(_run(params["cond_jaxpr"], [*test, *carry])[0])):
        after = _run(params["body_jaxpr"], [*body, *carry])
        carry = (
            after
            if not going.ndim
            else [_where(going, a, b) for a, b in zip(after, carry, strict=True)]
        )
    return carry


def _where(going: np.ndarray, after: Any, before: Any) -> Any:
    """Of several loops in one, what those that go on have now, and what the others had."""
    return np.where(
        going.reshape(going.shape + (1,) * (np.ndim(after) - going.ndim)), after, before
    )


def _cond(given: list[Any], params: dict[str, Any]) -> Sequence[Any]:
    branches = params["branches"]
    return _run(branches[int(np.clip(int(given[0]), 0, len(branches) - 1))], given[1:])


def _scan(given: list[Any], params: dict[str, Any]) -> Sequence[Any]:
    (consts, carries), length = _counts(params), params["length"]
    fixed, carry, along = (
        given[:consts],
        given[consts : consts + carries],
        given[consts + carries :],
    )
    rows: list[Any] = [None] * length
    for i in range(length)[:: -1 if params["reverse"] else 1]:
        results = _run(params["jaxpr"], [*fixed, *carry, *(a[i] for a in along)])
        carry, rows[i] = results[:carries], results[carries:]
    shapes = [v.aval.shape for v in params["jaxpr"].jaxpr.outvars[carries:]]
    stacked = [
        np.stack([r[k] for r in rows]) if rows else np.zeros((0, *s)) for k, s in enumerate(shapes)
    ]
    return [*carry, *stacked]


def _counts(params: dict[str, Any]) -> tuple[int, int]:
    """How many operands of a scan stay the same, and how many are carried; JAX 0.12 says it in a
    tree.
    """
    if "ft_in" not in params:
        return params["num_consts"], params["num_carry"]
    fixed, carried, _ = map(list, params["ft_in"].unpack())
    return len(fixed), len(carried)


CONTROL: dict[str, Callable[[list[Any], dict[str, Any]], Sequence[Any]]] = {
    "while": _while,
    "cond": _cond,
    "scan": _scan,
}
