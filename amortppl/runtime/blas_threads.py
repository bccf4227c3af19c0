"""SciPy's BLAS on one thread while a compiled program runs.

XLA takes its linear algebra on CPUs from SciPy, whose OpenBLAS shares even small matrices among
threads, and these spin until the next one comes. Of the eigenvectors of a matrix of 180 rows that
is 5.7 ms of CPU for 0.8, of a Cholesky factor of 500 rows 12 for 1.2 (two cores, others busy).
Batches of small matrices are what runs here. Without OpenBLAS nothing is done.

Leans on the names of OpenBLAS's functions in SciPy's wheels (SciPy 1.18); tests/runtime/
test_blas_threads.py fails where these change.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import NamedTuple

PREFIXES, SUFFIXES = ("scipy_openblas", "openblas"), ("", "64_")
"""Of the functions' names, in SciPy's own library and in others."""


class _Functions(NamedTuple):
    """OpenBLAS's own, to ask for the number of threads and to set it."""

    count: Callable[[], int]
    set_count: Callable[[int], None]


class _Running:
    """How many programs run, and how many threads there were before the first.

    A forked child runs none of them, though one that was forked in a block may leave it too, and
    has the threads of that moment: `lowered` says that these are not its own.
    """

    def __init__(self) -> None:
        self.lock, self.programs, self.threads = Lock(), 0, 1
        self.lowered, self.process = False, 0

    def begin_child(self) -> None:
        """The same in a new process; the lock may have been another thread's."""
        self.lock, self.lowered = Lock(), self.lowered or self.programs > 0
        self.programs, self.process = 0, self.process + 1


_running = _Running()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.begin_child)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """One thread until the last of the blocks that run beside one another ends."""
    functions = _functions()
    if functions is None:
        yield
        return
    with _running.lock:
        if not _running.programs:
            if not _running.lowered:
                _running.threads = functions.count()
            functions.set_count(1)
        _running.programs += 1
        process = _running.process
    try:
        yield
    finally:
        with _running.lock:
            if process == _running.process:
                _running.programs -= 1
                if not _running.programs:
                    functions.set_count(_running.threads)
                    _running.lowered = False


@cache
def _functions() -> _Functions | None:
    """OpenBLAS as SciPy has loaded it; None where it has another library."""
    from scipy.linalg import cython_lapack

    library = ctypes.CDLL(cython_lapack.__file__)
    for prefix in PREFIXES:
        for suffix in SUFFIXES:
            names = (f"{prefix}_{verb}_num_threads{suffix}" for verb in ("get", "set"))
            get, put = (getattr(library, name, None) for name in names)
            if get is not None and put is not None:
                return _Functions(get, put)
    return None
