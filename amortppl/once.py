"""Programs that run once, or seldom and for a moment: compiled without optimization, at half the cost on a CPU."""

from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax

UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""What `jax_disable_most_optimizations` sets, for one program."""


def unoptimized(function: Callable) -> Callable:
    """The function compiled so, at its first call with arguments of new shapes."""

    @cache
    def compiled() -> Callable:
        return eqx.filter_jit(function, compiler_options=UNOPTIMIZED if jax.default_backend() == "cpu" else {})

    return lambda *arguments: compiled()(*arguments)


def once(function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)`, compiled for this one call.

    Building a method for a regression with counts takes 7 CPU seconds so, 13 optimized; with linear means 3 and 7.
    """
    return unoptimized(function)(*arguments)
