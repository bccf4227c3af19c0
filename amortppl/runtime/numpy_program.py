"""A jaxpr as a list of NumPy calls: programs that it calls are written out, what nothing needs is
left out, and what depends on no argument is computed once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from amortppl.runtime.numpy_rules import RULES

CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters under which a primitive keeps the program that it calls."""

CALLBACKS = ("pure_callback", "io_callback", "debug_callback")
"""Calls of Python, which may raise: they are made where a program comes to them."""


class Step(NamedTuple):
    """A call: what, of which slots, into which, what it is the last to need, if it may be early."""

    function: Callable[..., Sequence[Any]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    last: tuple[int, ...] = ()
    pure: bool = True


class NumpyProgram:
    """A closed jaxpr to be evaluated by NumPy many times.

    Attributes:
        start: values of all slots before the first step; None where a step fills them.
        steps: the calls in order.
        inputs, outputs: the slots of arguments and results.
    """

    def __init__(self, closed: ClosedJaxpr) -> None:
        self.start: list[Any] = []
        self.constant: list[bool] = []
        self.steps: list[Step] = []
        self.inputs = [self._slot() for _ in closed.jaxpr.invars]
        self.outputs = self._write(closed.jaxpr, closed.consts, self.inputs)
        self._leave_out()
        self._fold()
        self._release()

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        """The results at the arguments' leaves, `widened` before."""
        values = list(self.start)
        for slot, leaf in zip(self.inputs, leaves, strict=True):
            values[slot] = leaf
        with np.errstate(all="ignore"):
            for function, inputs, outputs, last, _ in self.steps:
                made = function(*[values[i] for i in inputs])
                for slot, value in zip(outputs, made, strict=True):
                    values[slot] = value
                for slot in last:
                    values[slot] = None
        return [values[o] for o in self.outputs]

    def _slot(self, value: Any = None, constant: bool = False) -> int:
        self.start.append(value)
        self.constant.append(constant)
        return len(self.start) - 1

    def _write(self, jaxpr: Jaxpr, consts: Sequence[Any], inputs: Sequence[int]) -> list[int]:
        """Adds a jaxpr's steps; returns the slots of its results."""
        slots = dict(zip(jaxpr.invars, inputs, strict=True))
        slots |= {
            v: self._slot(widened(c), True) for v, c in zip(jaxpr.constvars, consts, strict=True)
        }

        def slot(atom: Any) -> int:
            return self._slot(widened(atom.val), True) if isinstance(atom, Literal) else slots[atom]

        for equation in jaxpr.eqns:
            given = [slot(a) for a in equation.invars]
            called = _called(equation)
            if called is not None:
                made = self._write(called.jaxpr, called.consts, given)
            else:
                made = [self._slot() for _ in equation.outvars]
                pure = equation.primitive.name not in CALLBACKS
                self.steps.append(Step(_function(equation), tuple(given), tuple(made), (), pure))
            slots.update(zip(equation.outvars, made, strict=True))
        return [slot(a) for a in jaxpr.outvars]

    def _leave_out(self) -> None:
        needed, kept = set(self.outputs), []
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                needed.update(step.inputs)
                kept.append(step)
        self.steps = kept[::-1]

    def _fold(self) -> None:
        left = []
        with np.errstate(all="ignore"):
            for step in self.steps:
                if not (step.pure and all(self.constant[i] for i in step.inputs)):
                    left.append(step)
                    continue
                made = step.function(*[self.start[i] for i in step.inputs])
                for slot, value in zip(step.outputs, made, strict=True):
                    self.start[slot], self.constant[slot] = value, True
        self.steps = left

    def _release(self) -> None:
        """Notes after which step a value is of no more use."""
        later, steps = {*self.outputs, *(i for i, k in enumerate(self.constant) if k)}, []
        for step in reversed(self.steps):
            last = {*step.inputs, *step.outputs} - later
            later |= last
            steps.append(step._replace(last=tuple(last)))
        self.steps = steps[::-1]


class LongLoopError(Exception):
    """The loops of a program take more steps than `at_most` allows."""


_LEFT: ContextVar[list[int] | None] = ContextVar("_LEFT", default=None)


@contextmanager
def at_most(steps: int) -> Iterator[None]:
    """Raises `LongLoopError` where the loops of programs take more steps in all."""
    token = _LEFT.set([steps])
    try:
        yield
    finally:
        _LEFT.reset(token)


def _count_step() -> None:
    left = _LEFT.get()
    if left is None:
        return
    left[0] -= 1
    if left[0] < 0:
        raise LongLoopError


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


def _called(equation: Any) -> ClosedJaxpr | None:
    """The program that an equation is a plain call of."""
    name, params = equation.primitive.name, equation.params
    if name in CONTROL or name in RULES:
        return None
    if hasattr(params.get("_prim"), "expand"):
        return _expanded(params["_prim"])
    called = next((params[k] for k in CALLS if k in params), None)
    # In JAX 0.12 both are one class, and what is closed over lies in it.
    closed = called is None or isinstance(called, ClosedJaxpr)
    return called if closed else ClosedJaxpr(called, [])


def _expanded(primitive: Any) -> ClosedJaxpr:
    """A high-level primitive (as `jnp.nonzero` has, JAX 0.12) in terms of others."""

    def expand(*given: Any) -> list[Any]:
        return jax.tree.leaves(primitive.expand(*jax.tree.unflatten(primitive.in_tree, given)))

    return jax.make_jaxpr(expand)(
        *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in primitive.in_avals_flat)
    )


def _function(equation: Any) -> Callable[..., Sequence[Any]]:
    """What an equation computes, as a function of its operands."""
    name, params = equation.primitive.name, equation.params
    if name in CONTROL:
        return CONTROL[name](params)
    if name not in RULES:
        return partial(_by_jax, equation)
    rule = _or_by_jax(RULES[name], equation)
    if equation.primitive.multiple_results:
        return partial(rule, **params)
    dtype = equation.outvars[0].aval.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return lambda *given: (np.asarray(rule(*given, **params)),)
    # Whole numbers made floats must divide and subtract as floats do.
    kind = np.float64 if jnp.issubdtype(dtype, jnp.floating) else dtype
    return lambda *given: (np.asarray(rule(*given, **params)).astype(kind, copy=False),)


def _or_by_jax(rule: Callable[..., Any], equation: Any) -> Callable[..., Any]:
    """A rule, and JAX's own evaluation in 32 bits of what the rule does not cover."""

    def apply(*given: Any, **params: Any) -> Any:
        try:
            return rule(*given, **params)
        except NotImplementedError:
            results = _by_jax(equation, *given)
            return results if equation.primitive.multiple_results else results[0]

    return apply


def _by_jax(equation: Any, *given: Any) -> Sequence[Any]:
    with jax.ensure_compile_time_eval():  # while something else may be traced
        cast = [narrowed(v, a.aval.dtype) for v, a in zip(given, equation.invars, strict=True)]
        results = equation.primitive.bind(*cast, **equation.params)
        return [widened(v) for v in (results if equation.primitive.multiple_results else [results])]


def narrowed(value: Any, dtype: Any) -> jax.Array:
    """An array of JAX's, of a dtype of JAX's, of NumPy's."""
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(RULES["random_unwrap"](value)))
    # `jnp.asarray` compiles a program for each shape.
    return jax.device_put(np.asarray(value).astype(dtype))


def _while(params: dict[str, Any]) -> Callable[..., Sequence[Any]]:
    one, two = params["cond_nconsts"], params["body_nconsts"]
    test, body = NumpyProgram(params["cond_jaxpr"]), NumpyProgram(params["body_jaxpr"])

    def run(*given: Any) -> Sequence[Any]:
        tested, fixed, carry = given[:one], given[one : one + two], given[one + two :]
        while np.any(going := np.asarray(test([*tested, *carry])[0])):
            _count_step()
            after = body([*fixed, *carry])
            carry = (
                after
                if not going.ndim
                else [_where(going, a, b) for a, b in zip(after, carry, strict=True)]
            )
        return carry

    return run


def _where(going: np.ndarray, after: Any, before: Any) -> Any:
    """Of several loops in one, what those that go on have now, and what the others had."""
    return np.where(
        going.reshape(going.shape + (1,) * (np.ndim(after) - going.ndim)), after, before
    )


def _cond(params: dict[str, Any]) -> Callable[..., Sequence[Any]]:
    branches = [NumpyProgram(b) for b in params["branches"]]
    return lambda index, *given: branches[int(np.clip(int(index), 0, len(branches) - 1))](given)


def _scan(params: dict[str, Any]) -> Callable[..., Sequence[Any]]:
    (consts, carries), length = _counts(params), params["length"]
    program = NumpyProgram(params["jaxpr"])
    shapes = [v.aval.shape for v in params["jaxpr"].jaxpr.outvars[carries:]]
    order = range(length)[:: -1 if params["reverse"] else 1]

    def run(*given: Any) -> Sequence[Any]:
        end = consts + carries
        fixed, carry, along = given[:consts], given[consts:end], given[end:]
        rows: list[Any] = [None] * length
        for i in order:
            _count_step()
            results = program([*fixed, *carry, *(a[i] for a in along)])
            carry, rows[i] = results[:carries], results[carries:]
        stacked = [np.stack(r) for r in zip(*rows, strict=True)]
        return [*carry, *(stacked or [np.zeros((0, *s)) for s in shapes])]

    return run


def _counts(params: dict[str, Any]) -> tuple[int, int]:
    """How many operands of a scan stay the same, and how many are carried; JAX 0.12 says it in a
    tree.
    """
    if "ft_in" not in params:
        return params["num_consts"], params["num_carry"]
    fixed, carried, _ = map(list, params["ft_in"].unpack())
    return len(fixed), len(carried)


CONTROL: dict[str, Callable[[dict[str, Any]], Callable[..., Sequence[Any]]]] = {
    "while": _while,
    "cond": _cond,
    "scan": _scan,
}
