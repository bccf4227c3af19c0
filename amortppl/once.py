"""Programs that run once: compiled without optimization, which halves what they cost on a CPU."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""What `jax_disable_most_optimizations` sets, for one program."""


def once(function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)`, compiled for this one call.

    Building a method for a regression with counts takes 7 CPU seconds so, 13 optimized; with linear means 3 and 7.
    """
    options = UNOPTIMIZED if jax.default_backend() == "cpu" else {}
    return eqx.filter_jit(function, compiler_options=options)(*arguments)
