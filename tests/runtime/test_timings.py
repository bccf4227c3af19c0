"""Where the time goes: JAX's events are heard, and each second is counted once."""

import threading
import time

import jax
import jax.numpy as jnp

import amortppl as ap
from amortppl.runtime.compilation import Compiled
from amortppl.runtime.timings import timings


def test_a_program_is_traced_lowered_and_compiled_once_and_run_at_each_call():
    program = Compiled(lambda x: jnp.sin(x) @ x)
    with timings() as spent:
        for _ in range(3):
            program(jnp.ones((7, 7)))
    times = spent.programs["<lambda>"]
    assert (times.compiled + times.loaded, times.calls) == (1, 3)
    assert min(times.tracing, times.lowering, times.compiling + times.loading, times.running) > 0
    with timings() as again:
        program(jnp.ones((7, 7)))
    assert again.total.preparing == 0 and again.total.compiled == 0 and again.total.running > 0
    assert "<lambda>" in str(again) and "wall clock" in str(again)


def test_stages_inside_a_call_are_not_counted_twice():
    """The seconds of all stages together are within those of the clock."""

    def slow(x):
        time.sleep(0.3)  # while it is traced
        return jax.jit(lambda y: jnp.cosh(y))(x) + 1.0

    program = Compiled(slow)
    with timings() as spent:
        program(jnp.ones(5))
    assert spent.programs["slow"].tracing >= 0.3
    total = spent.total
    assert total.preparing + total.running <= spent.seconds
    assert total.running < 0.3


def test_recorders_nest_and_hear_other_threads():
    with timings() as outer:
        with timings() as inner:
            thread = threading.Thread(target=lambda: jax.jit(lambda x: x - 3.0)(jnp.ones(11)))
            thread.start()
            thread.join()
        jax.jit(lambda x: x - 4.0)(jnp.ones(11))
    lambdas = [t.programs["<lambda>"] for t in (inner, outer)]
    assert [t.compiled + t.loaded for t in lambdas] == [1, 2]


def test_a_program_from_the_persistent_cache_counts_as_loaded(tmp_path):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {n: getattr(jax.config, n) for n in names}
    from jax.experimental.compilation_cache import compilation_cache

    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        x, counts = jnp.ones(13), []
        for _ in range(2):
            with timings() as spent:
                jax.jit(lambda x: jnp.tanh(x) * 2.5)(x)
            times = spent.programs["<lambda>"]
            counts.append((times.compiled, times.loaded))
        assert counts == [(1, 0), (0, 1)]
    finally:
        compilation_cache.reset_cache()
        for name, value in before.items():
            jax.config.update(name, value)


def test_an_answer_says_where_its_time_went(mean_guide):
    import json

    tree = mean_guide.infer({"y": [0.5, 1.0, 0.0, 0.2]}, draws=50)
    spent = json.loads(tree.attrs["timings"])
    assert 0 < spent["running"] < spent["seconds"]
    assert ap.timings is timings
