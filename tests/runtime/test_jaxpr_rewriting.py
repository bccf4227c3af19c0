"""Traced functions without what they repeat: the same values and derivatives, from fewer
equations.
"""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import amortppl as ap
from amortppl.runtime.jaxpr_rewriting import rewrite


def primitives(f, *args):
    """How often each primitive occurs in a traced function, in the functions that it calls too."""

    def count(jaxpr):
        inner = (p for e in jaxpr.eqns for p in e.params.values() if hasattr(p, "eqns"))
        return sum(map(count, inner), Counter(e.primitive.name for e in jaxpr.eqns))

    return count(jax.make_jaxpr(f)(*args))


def chain(x, y):
    """A loop whose every turn computes the same, in a jitted function and outside."""
    total = 0.0
    for row in y:
        total += jnp.exp(x) * row + jax.nn.softplus(x) + jnp.where(x > 0, x, jnp.sin(x))
    jnp.cosh(x)  # nothing needs it
    return total


def test_what_repeats_is_computed_once():
    y = jnp.arange(4.0)
    before, after = primitives(chain, 0.3, y), primitives(rewrite(chain), 0.3, y)
    assert [before[n] for n in ("exp", "sin", "cosh", "log1p")] == [8, 4, 1, 4]
    assert [after[n] for n in ("exp", "sin", "cosh", "log1p")] == [2, 1, 0, 1]
    for f in (lambda g: g, jax.grad, jax.hessian):
        np.testing.assert_allclose(f(rewrite(chain))(0.3, y), f(chain)(0.3, y), rtol=1e-6)


def test_constants_are_computed_at_once():
    """The normalizing constants of priors; what depends on an argument stays."""

    def f(x):
        many = jnp.arange(1.0, 4.0) + 0.5
        return jnp.sum(jax.lax.lgamma(many)) * x + jax.lax.lgamma(x) - jnp.log(jnp.float32(7.0))

    before, after = primitives(f, 0.3), primitives(rewrite(f), 0.3)
    assert [before[n] for n in ("lgamma", "log", "iota")] == [2, 1, 1]
    assert [after[n] for n in ("lgamma", "log", "iota")] == [1, 0, 0]
    for g in (lambda g: g, jax.grad):
        np.testing.assert_allclose(g(rewrite(f))(0.3), g(f)(0.3), rtol=1e-6)


def test_rules_of_custom_derivatives_stay_apart():
    def same(x):
        return 2.0 * x

    one, other = jax.custom_jvp(same), jax.custom_jvp(same)
    for function, slope in ((one, 10.0), (other, jnp.array([1000.0]))):
        function.defjvp(lambda x, along, slope=slope: (same(*x), jnp.sum(slope) * along[0]))
    f = rewrite(lambda x: one(x) + other(x) + one(x))
    assert f(1.0) == 6.0 and jax.grad(f)(1.0) == 1020.0
    assert primitives(f, 1.0)["custom_jvp_call"] == 2


def test_numbers_that_only_look_equal_stay_apart():
    f = rewrite(
        lambda x: (jnp.copysign(x, 0.0), jnp.copysign(x, -0.0), jnp.add(x, 1), jnp.add(x, 1.0))
    )
    assert [float(v) for v in f(jnp.float32(2.0))] == [2.0, -2.0, 3.0, 3.0]
    kinds = rewrite(
        lambda x: (x.astype("int32").astype(float), x.astype("float16").astype(float), x)
    )
    assert [float(v) for v in kinds(jnp.float32(2.3))] == [
        2.0,
        float(jnp.float16(2.3)),
        float(np.float32(2.3)),
    ]


def test_effects_are_never_merged():
    seen = []

    def told(x):
        for _ in range(3):
            jax.debug.callback(lambda v: seen.append(float(v)), x)
        return x

    jax.block_until_ready(jax.jit(rewrite(told))(1.5))
    jax.effects_barrier()
    assert seen == [1.5] * 3


def test_results_keep_their_structure_and_loops_their_bodies():
    def f(tree):
        looped = jax.lax.fori_loop(0, 3, lambda i, v: v + tree["a"] * i, tree["b"])
        return {"sum": looped, "same": tree["a"], "none": None, "number": 2.0}

    tree = {"a": jnp.arange(2.0), "b": jnp.ones(2)}
    results = rewrite(f)(tree)
    assert results["none"] is None and results["number"] == 2.0
    np.testing.assert_array_equal(results["sum"], [1.0, 4.0])
    np.testing.assert_array_equal(results["same"], tree["a"])


@pytest.mark.parametrize("name", ["eight_schools", "gaussian_mixture", "overdispersed_poisson"])
def test_densities_of_models_are_the_same(name):
    task = ap.model(name)
    draw = jax.jit(task.simulate, static_argnums=1)(jax.random.key(0), 8)
    exact, rewritten = (
        jax.jit(f)(draw.latents, draw.data)
        for f in (task.log_densities, rewrite(task.log_densities))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-6), exact, rewritten)
