"""Programs that run once: the same numbers as a compiled one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import amortppl as ap
from amortppl.runtime.compilation import Compiled, jit_lightly, run_once


@pytest.mark.parametrize("run", [run_once, lambda function, *given: jit_lightly(function)(*given)])
def test_arrays_trees_and_settings_go_through(run):
    def scaled(tree, name, times):
        return {name: jax.tree.map(lambda a: times * jnp.cumsum(a), tree)}

    results = run(scaled, [jnp.arange(4.0), np.ones((2, 2))], "sums", 3)
    np.testing.assert_allclose(results["sums"][0], [0, 3, 9, 18])
    np.testing.assert_allclose(results["sums"][1], [3, 6, 9, 12])


def test_a_method_is_built_as_a_compiled_program_builds_it():
    """Unoptimized programs may round otherwise: to a few float32 digits."""
    task, spec = ap.model("gaussian_mean"), ap.method("parametric")
    built = [
        eqx.filter(m, eqx.is_array)
        for m in (
            run_once(spec.build, task, jr.key(0)),
            eqx.filter_jit(spec.build)(task, jr.key(0)),
        )
    ]
    for a, b in zip(*map(jax.tree.leaves, built), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_errors_are_those_of_the_function():
    with pytest.raises(ZeroDivisionError):
        run_once(lambda a: a / (1 // 0), jnp.ones(2))


def test_ahead_of_a_call_a_program_is_traced_and_compiled_and_says_what_it_will_return(
    compilations,
):
    traced = []

    def doubled(tree, name):
        traced.append(name)
        return {name: 2 * tree["a"], "name": name}

    program = Compiled(doubled)
    answer = program.compile_ahead({"a": np.zeros(3, np.float32)}, "twice")
    np.testing.assert_array_equal(answer["twice"], np.zeros(3))
    assert answer["name"] == "twice"
    np.testing.assert_allclose(program({"a": jnp.arange(3.0)}, "twice")["twice"], [0, 2, 4])
    assert traced == ["twice"] and compilations.count("jit(doubled)") == 1


def test_a_program_that_could_not_be_compiled_ahead_is_compiled_at_the_call(monkeypatch):
    program = Compiled(lambda a: a + 1)
    program.compile_ahead(np.zeros(2, np.float32))

    class Failed:
        def lower(self, *_):
            return self

        def compile(self):
            raise MemoryError

        lowered, out_info, postprocess = (
            property(lambda self: self),
            (),
            staticmethod(lambda value: value),
        )

    monkeypatch.setattr(program, "jitted", lambda *_: Failed())
    program.compile_ahead(np.zeros(3, np.float32))
    monkeypatch.undo()
    np.testing.assert_allclose(program(jnp.ones(3)), 2 * np.ones(3))
