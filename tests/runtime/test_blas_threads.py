"""SciPy's BLAS on one thread while a compiled program runs."""

import os
import sys
from threading import Barrier, Thread

import pytest

from amortppl.runtime import blas_threads
from amortppl.runtime.blas_threads import one_blas_thread


@pytest.fixture
def functions():
    found = blas_threads._functions()
    if found is None and sys.platform != "linux":
        pytest.skip("SciPy has another library here")
    assert found is not None, "OpenBLAS's functions have other names in this SciPy"
    before = found.count()
    found.set_count(2)
    yield found
    found.set_count(before)


def test_one_thread_until_the_last_block_ends(functions):
    with one_blas_thread():
        with one_blas_thread():
            assert functions.count() == 1
        assert functions.count() == 1
    assert functions.count() == 2


def test_threads_are_given_back_after_an_error(functions):
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert functions.count() == 2


def test_two_threads_at_once_leave_as_many_as_before(functions):
    """One ends while the other still runs; all counts are taken between barriers."""
    seen, both, ended = [], Barrier(2), Barrier(2)

    def first():
        with one_blas_thread():
            both.wait()
        ended.wait()

    def second():
        with one_blas_thread():
            both.wait()
            ended.wait()
            seen.append(functions.count())

    threads = [Thread(target=f) for f in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [1]
    assert functions.count() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_child_forked_in_a_block_gets_its_threads_back(functions):
    """Its first block begins anew, and leaving the one it was forked in changes nothing."""
    outer = one_blas_thread()
    outer.__enter__()
    child = os.fork()
    if child == 0:
        seen = []
        try:
            with one_blas_thread():
                seen.append(functions.count())
            seen.append(functions.count())
            outer.__exit__(None, None, None)
            seen += [functions.count(), blas_threads._running.programs]
        finally:
            os._exit(0 if seen == [1, 2, 2, 0] else 1)
    outer.__exit__(None, None, None)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert functions.count() == 2
