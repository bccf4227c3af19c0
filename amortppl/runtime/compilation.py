"""Programs and how they are compiled: with fewer optimizations where they run once or seldom, and
where several
are needed in a row, one beside another."""

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import numpy as np

UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""What `jax_disable_most_optimizations` sets, for one program."""


LIGHT = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}
"""Simulating 1000 tasks of 512 rows, compiling and running, on one core: negative binomials 8.3 CPU
s with all
optimizations, 4.9 without, 4.2 so."""


class Compiled:
    """A function compiled at its first call with arguments of new shapes, or ahead of it.

    Args:
        function: of arrays and of what is static.
        options: of XLA, on a CPU.
    """

    def __init__(self, function: Callable, options: dict[str, Any] | None = None) -> None:
        self.function, self.options = function, options or {}
        self._begun: list[Future] = []

    @cached_property
    def jitted(self) -> Any:
        """Made at the first use, when the backend is known."""
        return eqx.filter_jit(
            self.function, compiler_options=self.options if jax.default_backend() == "cpu" else {}
        )

    def __call__(self, *arguments: Any) -> Any:
        while self._begun:
            wait(
                [self._begun.pop()]
            )  # should it have failed, then so does what follows, and says why
        with _without_collection():
            return self.jitted(*arguments)

    def compile_ahead(self, *arguments: Any) -> Any:
        """Traces the function here, as models must be, and compiles it in a thread; the next call
        waits for that.

        Args:
            arguments: of the call, or zeros in the place of arrays that are not known yet.

        Returns:
            What the function will return, with zeros in the place of arrays.
        """
        with _without_collection():
            lowered = self.jitted.lower(*arguments)
        pool = ThreadPoolExecutor(1, "amortppl-compile")
        self._begun.append(pool.submit(lowered.compile))
        pool.shutdown(wait=False)
        found = lowered.postprocess(lowered.lowered.out_info)
        return jax.tree.map(
            lambda a: np.zeros(a.shape, a.dtype) if hasattr(a, "shape") else a, found
        )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Puts garbage collection off: tracing makes objects by the million and no garbage to speak of,
    and looking
    for it takes a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def jit_unoptimized(function: Callable) -> Compiled:
    """For what runs once or seldom, and for a moment: at half the cost on a CPU."""
    return Compiled(function, UNOPTIMIZED)


def jit_lightly(function: Callable) -> Compiled:
    """For what runs once, but for seconds."""
    return Compiled(function, LIGHT)


def run_once(function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)`, compiled for this one call.

    Building a method for a regression with counts takes 7 CPU seconds so, 13 optimized; with linear
    means 3 and 7.
    """
    return jit_unoptimized(function)(*arguments)
