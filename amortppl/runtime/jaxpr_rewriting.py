"""A traced function rewritten before it is differentiated: what it computes twice is computed once,
some primitives
are replaced, and what nothing needs is left out.

XLA does the first and the last too, but after derivatives were taken: each repetition has by then
become several computations of its own, no longer alike. A model that a loop unrolls repeats much.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, Literal, Primitive
from jax.interpreters.partial_eval import dce_jaxpr

Replacements = Mapping[Primitive, Callable[[jax.Array], jax.Array]]
"""For primitives of one float32 argument, what computes them instead."""


def rewrite(f: Callable[..., Any], replaced: Replacements | None = None) -> Callable[..., Any]:
    """The function with equal equations evaluated once, and primitives replaced outside of loops
    and branches.

    Equations are equal when primitive, parameters and arguments are; those with effects never are,
    nor those whose parameters cannot be compared.
    """

    def run(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        needed, _ = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
        found = _Evaluation(replaced or {}).of(needed, closed.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    return run


class _Evaluation:
    """One evaluation: results by equation, and the arguments by whose identity equations are
    compared.
    """

    def __init__(self, replaced: Replacements) -> None:
        self.replaced, self.results, self.arguments = replaced, {}, []

    def of(self, jaxpr: Jaxpr, consts: list[Any], args: list[Any]) -> list[Any]:
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

        def read(place: Any) -> Any:
            return place.val if isinstance(place, Literal) else values[place]

        for equation in jaxpr.eqns:
            inputs = [read(v) for v in equation.invars]
            key = self._key(equation, inputs)
            found = self.results.get(key) or self._evaluated(equation, inputs)
            if key is not None:
                self.results[key] = found
            values |= dict(zip(equation.outvars, found, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _key(self, equation: Any, inputs: list[Any]) -> Any:
        custom = equation.primitive.name == "custom_jvp_call"
        params = self._rule(equation) if custom else equation.params.values()
        key = (equation.primitive, *params, *map(self._identity, inputs))
        try:
            hash(key)
        except TypeError:
            return None
        return None if equation.effects else key

    def _rule(self, equation: Any) -> list[Any]:
        """What a function with a derivative of its own is compared by: what both compute, since JAX
        wraps the same
        rule anew at each call."""
        value, derivative = equation.params["call_jaxpr"], equation.params["jvp_jaxpr_fun"]
        if equation.params["symbolic_zeros"] or equation.params["num_consts"]:
            return [object()]  # equal to nothing
        rule, consts, _ = derivative.call_wrapped(*[False] * len(equation.invars))
        return [str(value), str(rule), *map(self._identity, [*value.consts, *consts])]

    def _identity(self, value: Any) -> Any:
        if isinstance(value, bool | int | float):
            return type(value), getattr(value, "dtype", None), repr(value)  # 0.0 is not -0.0
        if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
            return type(value), value.dtype, value.tobytes()
        self.arguments.append(value)  # what lives keeps its identity to itself
        return id(value)

    def _evaluated(self, equation: Any, inputs: list[Any]) -> list[Any]:
        primitive, params = equation.primitive, equation.params
        if primitive in self.replaced and inputs[0].dtype == np.float32:
            return [self.replaced[primitive](inputs[0])]
        if primitive.name in ("jit", "pjit"):
            return self.of(params["jaxpr"].jaxpr, params["jaxpr"].consts, inputs)
        bound = primitive.get_bind_params(params)
        functions, rest = (
            bound if isinstance(bound, tuple) else ((), bound)
        )  # a pair before JAX 0.11
        found = primitive.bind(*functions, *inputs, **rest)
        return found if primitive.multiple_results else [found]
