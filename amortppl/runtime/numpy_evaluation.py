"""Evaluates a JAX function with NumPy in float64: nothing is compiled, and nothing is computed as
XLA does.

A function that runs once on few numbers costs its tracing so, some milliseconds, where compiling it
would cost a hundred times as much. And what is asked whether XLA's float32 numbers are right should
not be computed by XLA.
"""

from collections.abc import Callable
from typing import Any

import jax

from amortppl.runtime.numpy_program import NumpyProgram, widened


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
        self.program, self.structure = NumpyProgram(closed), jax.tree.structure(shape)

    def __call__(self, *arguments: Any) -> Any:
        """The function's value by NumPy."""
        leaves = [widened(a) for a in jax.tree.leaves(arguments)]
        return jax.tree.unflatten(self.structure, self.program(leaves))
