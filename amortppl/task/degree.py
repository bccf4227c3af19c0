"""The degree of a program's results as polynomials in an argument, read off its primitives.

A log density of degree two is a Gaussian's, wherever and for whatever data: nothing is sampled, so
that a branch for rare data (a censored row) counts as much as the usual one.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from amortppl.runtime.compilation import without_collection

LINEAR = {
    "add", "add_any", "broadcast_in_dim", "concatenate", "copy", "cumsum", "expand_dims", "neg",
    "pad", "reduce_sum", "reshape", "rev", "slice", "split", "squeeze", "sub", "transpose",
}  # fmt: skip
"""Primitives that add or arrange numbers."""

INDEXED = {"dynamic_slice", "gather", "dynamic_update_slice", "scatter-add", "scatter"}
"""Those that arrange numbers by indices, which are whole numbers."""

CALLS = {
    "pjit", "jit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat",
    "checkpoint",
}  # fmt: skip
"""Those that are programs by themselves, of the same arguments."""


def degrees(function: Callable[..., Any], at: Any, *others: Any) -> Any:
    """The degree of each result in the numbers of the first argument; inf where it is no
    polynomial, or not seen to be one.

    Args:
        function: what JAX can trace.
        at, others: its arguments, or their shapes.

    Example:
        >>> import jax.numpy as jnp
        >>> degrees(lambda u, y: (y - 2 * u) ** 2 + jnp.exp(y), jnp.ones(2), jnp.ones(2))
        2
        >>> degrees(lambda u, y: jnp.where(y > 0, u, jnp.exp(u)), jnp.ones(2), jnp.ones(2))
        inf
    """
    with without_collection():
        closed, shape = jax.make_jaxpr(function, return_shape=True)(at, *others)
    own, rest = len(jax.tree.leaves(at)), len(jax.tree.leaves(others))
    found = _of_program(closed.jaxpr, [1] * own + [0] * rest)
    return jax.tree.unflatten(jax.tree.structure(shape), found)


def _of_program(program: Jaxpr, given: Sequence[float]) -> list[float]:
    known: dict[Any, float] = dict.fromkeys(program.constvars, 0)
    known |= dict(zip(program.invars, given, strict=True))
    look = lambda v: 0 if isinstance(v, Literal) else known[v]  # noqa: E731
    for equation in program.eqns:
        inputs = [look(v) for v in equation.invars]
        if _asks_whether_finite(equation):
            inputs = [0]
        found = _of_primitive(equation.primitive.name, equation.params, inputs)
        several = found if isinstance(found, list) else [found] * len(equation.outvars)
        known |= dict(zip(equation.outvars, several, strict=True))
    return [look(v) for v in program.outvars]


def _asks_whether_finite(equation: JaxprEqn) -> bool:
    """x == x, x != inf and the like, as NumPyro asks of a value in the support of a Normal: the
    degree is that for finite numbers.
    """
    name, given = equation.primitive.name, equation.invars
    if name == "ne" and isinstance(given[1], Literal):
        return bool(np.all(np.isinf(given[1].val)))
    return name == "is_finite" or (name == "eq" and given[0] is given[1])


def _of_primitive(
    name: str, params: Mapping[str, Any], inputs: Sequence[float]
) -> float | list[float]:
    """The degree of a primitive's results, or of each."""
    if not any(inputs):
        return 0
    if name in LINEAR or name in INDEXED or _keeps_numbers(name, params):
        return max(inputs)
    if name in CALLS:
        inner = next(v for v in params.values() if isinstance(v, ClosedJaxpr | Jaxpr))
        inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
        return _of_program(inner, inputs) if len(inner.invars) == len(inputs) else inf
    rule = _RULES.get(name)
    return inf if rule is None else rule(params, inputs)


def _keeps_numbers(name: str, params: Mapping[str, Any]) -> bool:
    """Whether it changes the type alone, between types of real numbers."""
    return name == "convert_element_type" and params["new_dtype"].kind == "f"


def _of_power(params: Mapping[str, Any], inputs: Sequence[float]) -> float:
    return inputs[0] * params["y"] if params["y"] >= 0 else inf


_RULES: dict[str, Callable[[Mapping[str, Any], Sequence[float]], float]] = {
    "mul": lambda _, inputs: sum(inputs),
    "dot_general": lambda _, inputs: sum(inputs),
    "square": lambda _, inputs: 2 * inputs[0],
    "integer_pow": _of_power,
    "div": lambda _, inputs: inf if inputs[1] else inputs[0],
    "triangular_solve": lambda _, inputs: inf if inputs[0] else inputs[1],
    "select_n": lambda _, inputs: inf if inputs[0] else max(inputs[1:]),
}
