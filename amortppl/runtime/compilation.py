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
import os
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any

import equinox as eqx
import jax
import numpy as np

from amortppl.runtime.blas_threads import one_blas_thread
from amortppl.runtime.timings import recording, time_run

Options = dict[str, Any]

UNOPTIMIZED: Options = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
"""What `jax_disable_most_optimizations` sets, for one program."""


LIGHT: Options = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}
"""For programs that run once, but for seconds.

Simulating 1000 tasks of 512 rows of negative binomials, compiling and running on one core, took 8.3
CPU s with all optimizations, 4.9 with none and 4.2 with these.
"""

FEW = 1 << 17
"""Numbers computed by an elementwise program up to which it is not optimized.

At a first answer a linear regression's programs compile in 2.9 CPU s without optimizations, 4.6
with few and 6.7 with all; with 64 rows and 1,000 draws a later answer takes 33, 26 and 25 ms.
"""


MOST_THREADS = 4
"""Programs compiled beside one another, at most: each takes some hundred MB."""


class Compiled:
    """A function compiled at its first call with arguments of new shapes, or ahead of it.

    >>> import jax.numpy as jnp
    >>> Compiled(lambda x: 2 * x)(jnp.ones(2)).tolist()
    [2.0, 2.0]

    Args:
        function: of arrays and of static arguments.
        options: of XLA, on a CPU; or a function of the arguments that gives them.
    """

    def __init__(
        self, function: Callable, options: Options | Callable[..., Options] | None = None
    ) -> None:
        self.function, self.options = function, options or {}
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self._begun: list[Future] = []
        self._jitted: dict[str, Any] = {}

    def jitted(self, *arguments: Any) -> Any:
        """The jitted function for these arguments, made when the backend is known."""
        options = self.options(*arguments) if callable(self.options) else self.options
        chosen = options if jax.default_backend() == "cpu" else {}
        name = str(chosen)
        if name not in self._jitted:
            self._jitted[name] = eqx.filter_jit(self.function, compiler_options=chosen)
        return self._jitted[name]

    def __call__(self, *arguments: Any) -> Any:
        while self._begun:
            wait([self._begun.pop()])  # if it failed, so does the call below, with the reason
        with without_collection():
            if jax.default_backend() != "cpu" and not recording():
                return self.jitted(*arguments)(*arguments)
            with time_run(self.__name__), one_blas_thread():
                return jax.block_until_ready(self.jitted(*arguments)(*arguments))

    def compile_ahead(self, *arguments: Any) -> Any:
        """Traces the function here and compiles it in a thread; the next call waits for that.

        Models must be traced in the caller's thread.

        Args:
            arguments: of the call, or zeros in the place of arrays that do not exist yet.

        Returns:
            What the function will return, with zeros in the place of arrays.
        """
        with without_collection():
            lowered = self.jitted(*arguments).lower(*arguments)
        self._begun.append(_threads().submit(lowered.compile))
        result = lowered.postprocess(lowered.lowered.out_info)
        return jax.tree.map(
            lambda a: np.zeros(a.shape, a.dtype) if hasattr(a, "shape") else a, result
        )


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads that compile: XLA leaves Python's lock to others meanwhile."""
    return ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS), "amortppl-compile")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_threads.cache_clear)


def signature(*arguments: Any) -> Hashable:
    """What a program depends on: shapes and types of arrays, and all else as it is.

    >>> signature(np.zeros(2), "a") == signature(np.ones(2), "a") != signature(np.ones(3), "a")
    True
    """
    leaves, structure = jax.tree.flatten(arguments)
    kinds = tuple((a.shape, a.dtype) if hasattr(a, "dtype") else a for a in leaves)
    return kinds, structure


def few_optimizations(datasets: int, numbers: int, few: int = FEW) -> Options:
    """Options of a program that answers so many datasets and computes so many numbers.

    One dataset is waited for once; programs of lists run often and have all optimizations.
    """
    if datasets > 1:
        return {}
    return UNOPTIMIZED if numbers <= few else LIGHT


@contextmanager
def without_collection() -> Iterator[None]:
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


def compile_with(options: Callable[..., Options]) -> Callable[[Callable], Compiled]:
    """A decorator: `Compiled` with options that a function of the arguments gives."""
    return lambda function: Compiled(function, options)


def jit_unoptimized(function: Callable) -> Compiled:
    """Compiles without optimizations, for programs that run seldom and briefly: half the cost."""
    return Compiled(function, UNOPTIMIZED)


def jit_lightly(function: Callable) -> Compiled:
    """Compiles with few optimizations, for programs that run once, but for seconds."""
    return Compiled(function, LIGHT)


def run_once(function: Callable, *arguments: Any) -> Any:
    """Calls a function, compiled without optimizations for this one call."""
    return jit_unoptimized(function)(*arguments)
