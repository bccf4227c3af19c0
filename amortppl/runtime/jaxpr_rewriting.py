"""Rewrites a traced function before it is differentiated.

Equal equations are computed once, some primitives are replaced, what depends on no argument is
computed at once (`constant_folding`), and equations that nothing needs are left out. XLA does the
first and the last too, but after derivatives were taken: each repetition
has by then become several computations that are no longer alike. A model that a loop unrolls
repeats much.

Leans on `jax.extend.core` (`Jaxpr`, `Literal`, `Primitive`), `jax.interpreters.partial_eval.
dce_jaxpr`, `Primitive.get_bind_params`, and the parameters of the primitives `jit` and
`custom_jvp_call`: JAX has no public pass over a traced function. Checked with JAX 0.12.0.1;
tests/runtime/test_internals.py fails where they change.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, Literal, Primitive
from jax.interpreters.partial_eval import dce_jaxpr

from amortppl.runtime.constant_folding import fold

Replacements = Mapping[Primitive, Callable[[jax.Array], jax.Array]]
"""Functions that replace primitives of one float32 argument."""


def rewrite(f: Callable[..., Any], replaced: Replacements | None = None) -> Callable[..., Any]:
    """The function with equal equations evaluated once, constants folded and primitives replaced.

    Equations are equal when primitive, parameters and arguments are. Those with effects never are,
    nor those whose parameters cannot be compared. Loops and branches are left as they are.

    >>> import jax, jax.numpy as jnp
    >>> twice = rewrite(lambda x: jnp.sin(x) + jnp.sin(x))
    >>> str(jax.make_jaxpr(twice)(1.0)).count("sin")
    1
    """

    def run(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        needed, _ = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
        results = _Evaluation(replaced or {}).of(needed, closed.consts, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return run


def depends_on_first(f: Callable[..., Any], first: Any, *others: Any) -> bool:
    """Whether any result of `f(first, *others)` is computed from its first argument.

    >>> import jax.numpy as jnp
    >>> depends_on_first(lambda a, b: a + b, 1.0, 2.0), depends_on_first(lambda a, b: b, 1.0, 2.0)
    (True, False)
    """
    jaxpr = jax.make_jaxpr(f)(first, *others).jaxpr
    _, used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return any(used[: len(jax.tree.leaves(first))])


class _Evaluation:
    """One evaluation of a function.

    Attributes:
        results: of equations, by their key.
        arguments: values by whose identity equations are compared, kept alive for it.
    """

    def __init__(self, replaced: Replacements) -> None:
        self.replaced, self.results, self.arguments = replaced, {}, []

    def of(self, jaxpr: Jaxpr, consts: list[Any], args: list[Any]) -> list[Any]:
        """The program's results."""
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

        def read(place: Any) -> Any:
            return place.val if isinstance(place, Literal) else values[place]

        for equation in jaxpr.eqns:
            inputs = [read(v) for v in equation.invars]
            key = self._key(equation, inputs)
            results = self.results.get(key) or self._evaluate(equation, inputs)
            if key is not None:
                self.results[key] = results
            values |= dict(zip(equation.outvars, results, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _key(self, equation: Any, inputs: list[Any]) -> Any:
        """What an equation is compared by; None where it is equal to none."""
        custom = equation.primitive.name == "custom_jvp_call"
        params = self._rule(equation) if custom else equation.params.values()
        key = (equation.primitive, *params, *map(self._identity, inputs))
        try:
            hash(key)
        except TypeError:
            return None
        return None if equation.effects else key

    def _rule(self, equation: Any) -> list[Any]:
        """What a function with a derivative of its own is compared by: the programs of both.

        JAX wraps the same rule anew at each call, so that identity does not serve.
        """
        value, derivative = equation.params["call_jaxpr"], equation.params["jvp_jaxpr_fun"]
        if equation.params["symbolic_zeros"] or equation.params["num_consts"]:
            return [object()]  # equal to nothing
        rule, consts, _ = derivative.call_wrapped(*[False] * len(equation.invars))
        return [str(value), str(rule), *map(self._identity, [*value.consts, *consts])]

    def _identity(self, value: Any) -> Any:
        """What an argument is compared by: a number's type and bits, or an array's identity."""
        if isinstance(value, bool | int | float):
            return type(value), getattr(value, "dtype", None), repr(value)  # 0.0 is not -0.0
        if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
            return type(value), value.dtype, value.tobytes()
        self.arguments.append(value)  # what lives keeps its identity to itself
        return id(value)

    def _evaluate(self, equation: Any, inputs: list[Any]) -> list[Any]:
        """An equation's results."""
        primitive, params = equation.primitive, equation.params
        constant = fold(equation, inputs)
        if constant is not None:
            return [constant]
        if primitive in self.replaced and inputs[0].dtype == np.float32:
            return [self.replaced[primitive](inputs[0])]
        if primitive.name in ("jit", "pjit"):
            return self.of(params["jaxpr"].jaxpr, params["jaxpr"].consts, inputs)
        bound = primitive.get_bind_params(params)
        # JAX before 0.11 gives a pair.
        functions, rest = bound if isinstance(bound, tuple) else ((), bound)
        result = primitive.bind(*functions, *inputs, **rest)
        return result if primitive.multiple_results else [result]
