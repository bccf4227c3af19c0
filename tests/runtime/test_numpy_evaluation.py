"""Functions evaluated by NumPy against NumPy's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amortppl.runtime.numpy_evaluation import evaluate

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
