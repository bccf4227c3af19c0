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
import jax.extend.core

from amortppl.runtime.compilation import run_once, without_collection
from amortppl.runtime.numpy_program import LongLoopError, NumpyProgram, at_most, narrowed, widened
from amortppl.runtime.seeds import usual_keys

LOOP_STEPS = 1000
"""Steps of a function's loops up to which NumPy runs them once sooner than a compiler reads them.

A hundred draws of Poisson variables take some 50; building a method for a regression with counts
takes 0.7 CPU s so and 4.0 compiled.
"""


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
        with without_collection():
            closed, shape = jax.make_jaxpr(function, return_shape=True)(*like)
        self.program, self.structure = NumpyProgram(closed), jax.tree.structure(shape)

    def __call__(self, *arguments: Any) -> Any:
        """The function's value by NumPy."""
        leaves = [widened(a) for a in jax.tree.leaves(arguments)]
        return jax.tree.unflatten(self.structure, self.program(leaves))


def evaluate_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` for this one call, by NumPy where its loops are short.

    Compiling costs 0.5 CPU s and more, but a loop of many steps runs long in NumPy.

    Example:
        >>> import jax.numpy as jnp
        >>> float(evaluate_once(lambda x: 2 * jnp.sum(x), jnp.ones(3)))
        6.0
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    leaves = jax.tree.leaves(arguments)
    values = _by_numpy(closed, leaves)
    if values is None:
        values = run_once(jax.extend.core.jaxpr_as_fun(closed), *leaves)
    return jax.tree.unflatten(jax.tree.structure(shape), values)


def construct(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` by NumPy, once: a tree of JAX's arrays and of whatever else it holds.

    An Equinox module that starts from random weights is made so in 0.2 CPU s, where compiling its
    initialisation takes 1 to 4. Its random bits are JAX's. Where another generator than Threefry is
    chosen, or the function has a long loop, as a simulator of many steps, it is compiled.

    Example:
        >>> import jax.random as jr
        >>> layer = construct(lambda key: eqx.nn.Linear(2, 3, key=key), jr.key(0))
        >>> bool(abs(layer.weight - eqx.nn.Linear(2, 3, key=jr.key(0)).weight).max() < 1e-6)
        True
    """
    closed, dynamic, static = eqx.filter_make_jaxpr(lambda: function(*arguments))()
    values = _by_numpy(closed, [])
    if values is None:
        return run_once(function, *arguments)
    leaves, structure = jax.tree.flatten(dynamic)
    arrays = [narrowed(v, leaf.dtype) for v, leaf in zip(values, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, arrays), static)


def _by_numpy(closed: jax.extend.core.ClosedJaxpr, leaves: list[Any]) -> list[Any] | None:
    """A program's results by NumPy; None where loops are long or keys not Threefry's."""
    if not usual_keys():
        return None
    try:
        with at_most(LOOP_STEPS):
            return NumpyProgram(closed)([widened(a) for a in leaves])
    except LongLoopError:
        return None
