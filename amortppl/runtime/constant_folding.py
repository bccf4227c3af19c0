"""Equations of a traced function that depend on no argument, computed by NumPy.

JAX stages every operation of a traced function, those on plain numbers too: the normalizing
constant of a prior, as of `Gamma(2, 2)` or `LKJCholesky`, becomes a `lgamma` of some hundred
operations wherever the density is evaluated. XLA folds few of them.
"""

from typing import Any

import jax
import numpy as np

from amortppl.runtime.numpy_program import widened
from amortppl.runtime.numpy_rules import RULES

NAMES = (
    "lgamma digamma add sub mul div neg abs sign max min exp log log1p sqrt integer_pow pow iota "
    "broadcast_in_dim reshape squeeze convert_element_type reduce_sum concatenate slice select_n "
    "gt ge lt le eq ne and or not"
)
FOLDED = frozenset(NAMES.split())
"""Primitives that are folded: those that constants of densities are made of."""

LARGEST = 4096
"""Numbers of a constant, at most."""


def fold(equation: Any, inputs: list[Any]) -> np.ndarray | None:
    """The value of an equation; None where it depends on an argument, or is not folded.

    Args:
        equation: of a jaxpr.
        inputs: the values of its operands.

    >>> jaxpr = jax.make_jaxpr(lambda x: x + jax.lax.lgamma(5.0))(1.0).jaxpr
    >>> [fold(e, [e.invars[0].val]) for e in jaxpr.eqns if e.primitive.name == "lgamma"]
    [array(3.1780539, dtype=float32)]
    """
    name = equation.primitive.name
    if name not in FOLDED or not all(map(_is_plain, inputs)):
        return None
    like = equation.outvars[0].aval
    if like.size > LARGEST:
        return None
    with np.errstate(all="ignore"):
        try:
            value = np.asarray(RULES[name](*map(widened, inputs), **equation.params))
        except NotImplementedError:
            return None
    return value.astype(like.dtype) if value.shape == like.shape else None


def _is_plain(value: Any) -> bool:
    """Whether a value is there, and made of numbers."""
    if isinstance(value, jax.core.Tracer):
        return False
    return isinstance(value, bool | int | float) or getattr(value, "dtype", object) in NUMBERS


NUMBERS = frozenset(map(np.dtype, ("bool", "int32", "uint32", "float32", "float64", "int64")))
