"""Programs that run once, or seldom and for a moment: compiled without optimization, at half the cost on a CPU, or,
where they run for seconds, with the cheap ones alone."""

from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax

UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""What `jax_disable_most_optimizations` sets, for one program."""


LIGHT = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}
"""Simulating 1000 tasks of 512 rows, compiling and running, on one core: negative binomials 8.3 CPU s with all
optimizations, 4.9 without, 4.2 so."""


def unoptimized(function: Callable) -> Callable:
    """The function compiled so, at its first call with arguments of new shapes."""
    return _compiled(function, UNOPTIMIZED)


def lightly(function: Callable) -> Callable:
    """The function compiled with `LIGHT`, at its first call with arguments of new shapes."""
    return _compiled(function, LIGHT)


def _compiled(function: Callable, options: dict[str, Any]) -> Callable:
    @cache
    def compiled() -> Callable:
        return eqx.filter_jit(function, compiler_options=options if jax.default_backend() == "cpu" else {})

    return lambda *arguments: compiled()(*arguments)


def once(function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)`, compiled for this one call.

    Building a method for a regression with counts takes 7 CPU seconds so, 13 optimized; with linear means 3 and 7.
    """
    return unoptimized(function)(*arguments)
