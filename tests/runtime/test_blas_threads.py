"""SciPy's BLAS on one thread while a compiled program runs."""

import sys

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
