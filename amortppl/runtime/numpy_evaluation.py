"""Evaluates a JAX function with NumPy in float64: nothing is compiled, and nothing is computed as
XLA does.

A function that runs once on few numbers costs its tracing so, some milliseconds, where compiling it
would cost a hundred times as much. And what is asked whether XLA's float32 numbers are right should
not be computed by XLA.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from amortppl.runtime.compilation import run_once
from amortppl.runtime.numpy_program import NumpyProgram, narrowed, widened
from amortppl.runtime.seeds import usual_keys


def evaluate(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` by NumPy: a tree of NumPy arrays, float64 where the function makes
    floats.

    A primitive without a rule here is run by JAX on its own, in float32.

    Args:
        function: what JAX can trace, of trees of arrays. Its random bits are JAX's, its gamma
            variables others of the same law.
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


def construct(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` by NumPy, once: a tree of JAX's arrays and of whatever else it holds.

    An Equinox module that starts from random weights is made so in 0.2 CPU s, where compiling its
    initialisation takes 1 to 4. Its random bits are JAX's; where another generator than Threefry
    is chosen, JAX makes it.

    Example:
        >>> import jax.random as jr
        >>> layer = construct(lambda key: eqx.nn.Linear(2, 3, key=key), jr.key(0))
        >>> bool(abs(layer.weight - eqx.nn.Linear(2, 3, key=jr.key(0)).weight).max() < 1e-6)
        True
    """
    if not usual_keys():
        return run_once(function, *arguments)
    closed, dynamic, static = eqx.filter_make_jaxpr(lambda: function(*arguments))()
    values = NumpyProgram(closed)([])
    leaves, structure = jax.tree.flatten(dynamic)
    arrays = [narrowed(v, leaf.dtype) for v, leaf in zip(values, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, arrays), static)
