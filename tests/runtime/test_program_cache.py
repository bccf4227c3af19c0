"""The persistent cache: switched on once, off on request, and shared by processes."""

import os
import subprocess
import sys
import warnings

import jax
import pytest

from amortppl.runtime import program_cache
from amortppl.runtime.program_cache import program_cache_path, use_program_cache

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def unset(monkeypatch):
    """No cache configured; as it was afterwards."""
    before = {n: getattr(jax.config, n) for n in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv("AMORTPPL_CACHE", raising=False)
    yield monkeypatch
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_folder_is_the_users_or_the_one_named_or_none(unset, tmp_path):
    unset.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert program_cache_path().name == "programs"
    unset.setenv("AMORTPPL_CACHE", str(tmp_path / "own"))
    assert use_program_cache() == tmp_path / "own"
    assert jax.config.jax_compilation_cache_max_size == program_cache.LARGEST
    assert (tmp_path / "own").stat().st_mode & 0o077 == 0
    jax.config.update("jax_compilation_cache_dir", None)
    unset.setenv("AMORTPPL_CACHE", "off")
    assert use_program_cache() is None and jax.config.jax_compilation_cache_dir is None


def test_a_cache_that_the_user_configured_stays(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    unset.setenv("AMORTPPL_CACHE", "off")
    assert use_program_cache() == tmp_path
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)


def test_a_folder_that_others_may_write_to_is_not_used(unset, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    unset.setenv("AMORTPPL_CACHE", str(shared))
    with pytest.warns(UserWarning, match="others may write to it"):
        assert use_program_cache() is None
    unset.setenv("AMORTPPL_CACHE", str(tmp_path / "file" / "inside"))
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be made"):
        assert use_program_cache() is None


@pytest.mark.slow
def test_processes_that_share_a_folder_compile_once_and_all_are_right(tmp_path):
    """Three at once fill it; a fourth compiles nothing."""
    code = """
import jax, jax.numpy as jnp
from amortppl.runtime import program_cache
program_cache.QUICK = 0.0
from amortppl.runtime.timings import timings
assert program_cache.use_program_cache() is not None
with timings() as spent:
    value = jax.jit(lambda a: jnp.linalg.cholesky(a @ a.T + jnp.eye(20)).sum())(jnp.ones((20, 20)))
print(spent.programs["<lambda>"].compiled, spent.programs["<lambda>"].loaded, float(value))
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    env |= {"AMORTPPL_CACHE": str(tmp_path / "programs")}

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True
        )

    together = [start() for _ in range(3)]
    results = [p.communicate()[0].split() for p in together]
    assert [p.returncode for p in together] == [0, 0, 0]
    last = start().communicate()[0].split()
    assert last[:2] == ["0", "1"]
    assert len({r[2] for r in [*results, last]}) == 1


def test_nothing_is_said_where_all_is_well(unset, tmp_path):
    unset.setenv("AMORTPPL_CACHE", str(tmp_path / "quiet"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert use_program_cache() is not None
