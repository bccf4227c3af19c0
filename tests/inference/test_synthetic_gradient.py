"""Unlabelled rows refine a task's weights: what the judge says moves them, and nothing else of the
queries does.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.method import final
from amortppl.predictive.binned import Bars
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from conjugate import TINY, line_model


@pytest.fixture(scope="module")
def given():
    """A method that was not trained but whose judge says something, rows, and queries."""
    task = ap.Task(line_model, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 32))
    method = construct(
        ap.method("synthetic_gradient", **TINY["synthetic_gradient"]).build, task, jr.key(0)
    )
    last = lambda m: m.judge.layers[-1].weight  # noqa: E731
    method = eqx.tree_at(last, method, jr.normal(jr.key(1), last(method).shape))
    data = task.simulate(jr.key(2), 14).data
    rows = Batch({n: v[:8] for n, v in data.items()}, jnp.ones(8, bool))
    return method, rows, {n: v[8:] for n, v in data.items()}


@eqx.filter_jit
def weights_after(method, rows, query):
    return jnp.concatenate(
        [a.ravel() for a in jax.tree.leaves(final(method, rows, 1, query).weights)]
    )


def test_the_synthetic_gradient_is_the_true_one_where_the_judge_knows_it(given):
    """Where y* is a function of x*, the loss's gradient in the coefficients is one too: then both
    gradients agree.
    """
    method, _, query = given
    size = Bars.coefficients
    judge = lambda seen: jax.grad(lambda c: -Bars().log_prob(0.7 * seen[size], c))(seen[:size])  # noqa: E731
    knows = eqx.tree_at(lambda m: m.judge, method, judge)
    weights = method.learner.init()

    def loss(weights):
        adapted = method.learner.with_weights(weights, query)
        y = 0.7 * method.reader.x(query)[:, :1]
        return -jnp.mean(adapted.head.log_prob(method.reader, adapted.features[0], y))

    exact, ours = (
        eqx.filter_jit(jax.grad(loss))(weights),
        eqx.filter_jit(knows.synthetic)(weights, query),
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, exact)


def test_queries_move_the_weights_and_one_that_comes_twice_counts_once(given):
    method, rows, query = given
    was = weights_after(method, rows, query)
    twice = {n: jnp.concatenate([v, v[:3]]) for n, v in query.items()}
    np.testing.assert_allclose(weights_after(method, rows, twice), was, rtol=1e-4, atol=1e-5)
    other = {n: v + 1 for n, v in query.items()}
    assert abs(weights_after(method, rows, other) - was).max() > 1e-4


def test_observations_of_the_queries_are_not_seen(given):
    method, rows, query = given
    other = {**query, "y": query["y"] + 5}
    np.testing.assert_array_equal(
        weights_after(method, rows, other), weights_after(method, rows, query)
    )


def test_an_empty_mini_batch_changes_nothing(given):
    method, rows, query = given
    empty = Batch(rows.data, jnp.zeros(8, bool))
    start = jnp.concatenate([a.ravel() for a in jax.tree.leaves(method.init().weights)])
    np.testing.assert_array_equal(weights_after(method, empty, query), start)
