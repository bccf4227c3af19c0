"""Functions evaluated by NumPy against NumPy's own."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from amortppl.runtime import numpy_evaluation, numpy_program
from amortppl.runtime.compilation import run_once
from amortppl.runtime.numpy_evaluation import construct, evaluate, evaluate_once

X = np.random.default_rng(0).normal(size=11).astype(np.float32)


@pytest.mark.parametrize(
    ("ours", "numpys"),
    [
        (jnp.median, np.median),
        (lambda x: jnp.quantile(x, 0.9), lambda x: np.quantile(x, 0.9)),
        (lambda x: x[jnp.argmax(x)], np.max),
        (lambda x: jnp.take(x, 20, mode="fill"), lambda x: np.nan),
    ],
)
def test_gathers_of_one_number(ours, numpys):
    """Their places have no axis."""
    np.testing.assert_allclose(evaluate(ours, X), numpys(X.astype(float)), rtol=1e-6)


def test_functions_that_close_over_numbers():
    """`isclose` is a program of its own with its tolerances closed over."""
    close = evaluate(lambda a, b: jnp.isclose(a, b), jnp.ones(2), jnp.array([1.0, 1.1]))
    np.testing.assert_array_equal(close, [True, False])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.lexsort((x, jnp.round(x))),
        lambda x: jax.lax.pad(x, jnp.zeros((), x.dtype), [(-1, 2, 1)]),
    ],
    ids=["two keys", "padding inside"],
)
def test_what_has_no_rule_is_jaxs_own(function):
    np.testing.assert_allclose(evaluate(function, X), function(jnp.asarray(X)), rtol=1e-6)


PLACES = np.array([0, 3, 3, 7, -1])
ROWS = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.at[PLACES].add(x),
        lambda x: x.at[PLACES, 0].set(1.0, mode="clip"),
        lambda x: x.at[1:3, ::2].multiply(3.0),
        lambda x: jax.vmap(lambda row, i: row.at[i].max(2.0))(x, jnp.arange(5) % 4),
        lambda x: jax.grad(lambda x: jnp.sum(x[PLACES] ** 2))(x),
        lambda x: jnp.nonzero(x > 0, size=3)[0],
        lambda x: jax.lax.pad(x, jnp.float32(0), [(-1, 2, 0), (1, -2, 0)]),
    ],
    ids=["add", "clipped", "windows", "batched", "gradient", "nonzero", "cut"],
)
def test_places_written_to_are_jaxs(function, monkeypatch):
    monkeypatch.setattr(numpy_program, "_by_jax", None)  # by rules alone
    np.testing.assert_allclose(evaluate(function, ROWS), function(jnp.asarray(ROWS)), rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda key: jr.bits(key, (3, 5)),
        lambda key: jr.bits(key, (4,), jnp.uint8),
        lambda key: jr.key_data(jr.split(key, (2, 3))),
        lambda key: jr.key_data(jr.fold_in(key, 7)),
        lambda key: jax.vmap(lambda k: jr.bits(k, (2,)))(jr.split(key, 4)),
        lambda key: jr.permutation(key, 9),
    ],
)
def test_random_bits_are_jaxs(function):
    np.testing.assert_array_equal(evaluate(function, jr.key(3)), function(jr.key(3)))


def test_modules_keep_their_types_and_what_is_no_array():
    """Keys, whole numbers, functions and halves; numbers to the last digit but one."""

    def make(key):
        first = jr.normal(key, (3,))
        return {
            "a": first,
            "b": first.astype(jnp.bfloat16),
            "c": jnp.arange(2),
            "d": jr.split(key),
            "e": jnp.tanh,
            "f": np.ones(2),
        }

    ours, theirs = construct(make, jr.key(1)), make(jr.key(1))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs) and ours["e"] is jnp.tanh
    for name in "abc":
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_allclose(
            ours[name].astype(float), theirs[name].astype(float), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_array_equal(jr.key_data(ours["d"]), jr.key_data(theirs["d"]))


@pytest.mark.parametrize("steps", [10, 5000])
def test_a_long_loop_is_compiled(monkeypatch, steps):
    compiled = []
    monkeypatch.setattr(
        numpy_evaluation, "run_once", lambda f, *a: compiled.append(1) or run_once(f, *a)
    )
    loop = lambda x: jax.lax.fori_loop(0, steps, lambda _, y: y + x, 0.0)  # noqa: E731
    for once in (construct, evaluate_once):
        assert float(once(loop, jnp.ones(()))) == steps
    assert len(compiled) == (2 if steps > 1000 else 0)


def test_another_generator_is_jaxs_own():
    with jax.default_prng_impl("rbg"):
        key = jr.key(0)
        np.testing.assert_array_equal(construct(lambda: jr.bits(key, (2,))), jr.bits(key, (2,)))


def test_errors_of_a_branch_that_is_not_taken_are_not_raised():
    """As in the checks that diffrax makes of its arguments."""

    def refuse(_):
        raise ValueError

    def run(x):
        like = jax.ShapeDtypeStruct((), jnp.float32)
        raises = lambda x: x + jax.pure_callback(refuse, like, jnp.float32(0.0))  # noqa: E731
        return jax.lax.cond(x > 0, lambda x: 2 * x, raises, x)

    assert evaluate(run, jnp.float32(3.0)) == 6.0
