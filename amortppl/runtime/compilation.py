"""Compilation: fewer optimizations for programs that run once, and compilation ahead in a thread.

Leans on three internals, with the versions that they were checked with:

- XLA's options `xla_backend_optimization_level` and `xla_llvm_disable_expensive_passes`, passed to
  one program by `jax.jit`'s `compiler_options` (jaxlib 0.12.0.1). JAX's public
  `jax_disable_most_optimizations` is for the whole process.
- `lowered.out_info` and `postprocess` of what `equinox.filter_jit(...).lower` returns (Equinox
  0.13.8), from which the shapes of a program's result follow before it has run.
- `jax.jit` reuses what `lowered.compile` has compiled for the same arguments (JAX 0.12.0.1).

tests/runtime/test_internals.py and test_compilation.py fail where these change.
"""

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import numpy as np

from amortppl.runtime.timings import recording, time_run

UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""What `jax_disable_most_optimizations` sets, for one program."""


LIGHT = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}
"""For programs that run once, but for seconds.

Simulating 1000 tasks of 512 rows of negative binomials, compiling and running on one core, took 8.3
CPU s with all optimizations, 4.9 with none and 4.2 with these.
"""


class Compiled:
    """A function compiled at its first call with arguments of new shapes, or ahead of it.

    >>> import jax.numpy as jnp
    >>> Compiled(lambda x: 2 * x)(jnp.ones(2)).tolist()
    [2.0, 2.0]

    Args:
        function: of arrays and of static arguments.
        options: of XLA, on a CPU.
    """

    def __init__(self, function: Callable, options: dict[str, Any] | None = None) -> None:
        self.function, self.options = function, options or {}
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self._begun: list[Future] = []

    @cached_property
    def jitted(self) -> Any:
        """The jitted function, made at the first use, when the backend is known."""
        return eqx.filter_jit(
            self.function, compiler_options=self.options if jax.default_backend() == "cpu" else {}
        )

    def __call__(self, *arguments: Any) -> Any:
        while self._begun:
            wait([self._begun.pop()])  # if it failed, so does the call below, with the reason
        with _without_collection():
            if not recording():
                return self.jitted(*arguments)
            with time_run(self.__name__):
                return jax.block_until_ready(self.jitted(*arguments))

    def compile_ahead(self, *arguments: Any) -> Any:
        """Traces the function here and compiles it in a thread; the next call waits for that.

        Models must be traced in the caller's thread.

        Args:
            arguments: of the call, or zeros in the place of arrays that do not exist yet.

        Returns:
            What the function will return, with zeros in the place of arrays.
        """
        with _without_collection():
            lowered = self.jitted.lower(*arguments)
        pool = ThreadPoolExecutor(1, "amortppl-compile")
        self._begun.append(pool.submit(lowered.compile))
        pool.shutdown(wait=False)
        result = lowered.postprocess(lowered.lowered.out_info)
        return jax.tree.map(
            lambda a: np.zeros(a.shape, a.dtype) if hasattr(a, "shape") else a, result
        )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Suspends garbage collection, which takes a tenth of the time of tracing.

    Tracing makes objects by the million, and hardly any garbage.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def jit_unoptimized(function: Callable) -> Compiled:
    """Compiles without optimizations, for programs that run seldom and briefly: half the cost."""
    return Compiled(function, UNOPTIMIZED)


def jit_lightly(function: Callable) -> Compiled:
    """Compiles with few optimizations, for programs that run once, but for seconds."""
    return Compiled(function, LIGHT)


def run_once(function: Callable, *arguments: Any) -> Any:
    """Calls a function, compiled for this one call.

    Building a method for a regression with counts takes 7 CPU seconds so, 13 optimized; with linear
    means 3 and 7.
    """
    return jit_unoptimized(function)(*arguments)
