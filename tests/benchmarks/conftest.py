"""Benchmarks measure the code as a user runs it: with all optimisations, no cache of compiled
programs, and no check of
shapes at every call."""

import time
from contextlib import contextmanager
from dataclasses import dataclass

import jax
import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def as_a_user(as_many_as_users_have, parts_as_users_have, drop_many_programs, monkeypatch):
    """Undoes the short-cuts of the ordinary tests, here and in processes that benchmarks start."""
    for name in (
        "JAX_DISABLE_MOST_OPTIMIZATIONS",
        "JAX_COMPILATION_CACHE_DIR",
        "PYTHONDONTWRITEBYTECODE",
    ):
        monkeypatch.delenv(name, raising=False)
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    yield
    # With all optimisations a file of benchmarks compiles more than a process may hold
    drop_many_programs()


@dataclass
class Cost:
    """Seconds of a block: wall clock, and CPU over all cores."""

    wall: float = 0.0
    cpu: float = 0.0


@pytest.fixture
def cost():
    """A context manager that measures a block."""

    @contextmanager
    def measured():
        spent, wall, cpu = Cost(), time.perf_counter(), time.process_time()
        yield spent
        spent.wall, spent.cpu = time.perf_counter() - wall, time.process_time() - cpu

    return measured


@pytest.fixture
def say(capsys):
    """Prints a row of results past pytest's capture."""

    def print_row(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", flush=True)

    return print_row
