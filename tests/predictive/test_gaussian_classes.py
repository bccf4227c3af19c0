"""Gaussian classes on learned features against Bayes' rule on the joint density of all rows."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.method import final
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from conjugate import assert_disjoint_rows_add_up


def model(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 2).expand([2, 3]).to_event(2))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Categorical(logits=x @ w), obs=y)


@pytest.fixture(scope="module")
def method():
    task = ap.Task(model, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 32))
    built = construct(ap.method("conjugate_head", features=2, hidden=4).build, task, jr.key(0))
    prior = (jnp.array([0.3, -0.2]), jnp.array([0.5, -0.5]), jnp.log(0.7))
    return eqx.tree_at(lambda m: (m.centre, m.log_precision, m.log_concentration), built, prior)


def log_density(rows, centre, precision):
    """Of one class's features, its mean integrated out: they are jointly Gaussian, feature by
    feature.
    """
    shared = np.ones((len(rows), len(rows)))
    return sum(
        stats.multivariate_normal.logpdf(v, np.full(len(rows), c), np.eye(len(rows)) + shared / p)
        for v, c, p in zip(rows.T, centre, precision, strict=True)
        if len(rows)
    )


@pytest.mark.parametrize("steps", [1, 3])
def test_probabilities_are_exact_in_any_number_of_steps(method, steps):
    data = method.task.simulate(jr.key(4), 14).data
    context, query = (
        {n: v[part] for n, v in data.items()} for part in (slice(0, 12), slice(12, 14))
    )
    state = eqx.filter_jit(lambda m, b: final(m, b, steps))(
        method, Batch(context, jnp.ones(12, bool))
    )
    seen, new = (np.asarray(method.feature(method.reader, d), np.float64) for d in (context, query))
    centre, precision = np.asarray(method.centre), np.exp(method.log_precision)
    expected = np.zeros((2, 3))
    for c in range(3):
        own = seen[np.asarray(context["y"]) == c]
        for i, row in enumerate(new):
            density = log_density(np.vstack([own, row]), centre, precision) - log_density(
                own, centre, precision
            )
            expected[i, c] = density + np.log(len(own) + 0.7)
    expected -= np.logaddexp.reduce(expected, 1)[:, None]
    at = method.predictive(state, query)
    log_densities = np.stack([at.log_prob(query | {"y": jnp.full(2, c)}) for c in range(3)], -1)
    np.testing.assert_allclose(log_densities, expected, atol=2e-4)
    drawn = at.sample(jr.key(0), 4000)["y"]
    shares = np.stack([np.mean(np.asarray(drawn) == c, 0) for c in range(3)], -1)
    np.testing.assert_allclose(shares, np.exp(expected), atol=0.04)  # five standard errors at most


def test_states_of_disjoint_rows_add_up(method):
    assert_disjoint_rows_add_up(method, atol=1e-5)


@pytest.mark.parametrize("image", [(2, 2), (2, 1)])
def test_an_image_of_another_size_is_refused(method, image):
    with pytest.raises(
        ModelError, match=r"image: expected .height, width. of the input.* 2 pixels in all"
    ):
        ap.method("versa", image=image).build(method.task, jr.key(0))


def test_an_image_is_refused_where_no_class_is_observed():
    with pytest.raises(ModelError, match="`image` is for classes"):
        ap.method("conjugate_head", image=(8, 8)).build(ap.model("linear_regression"), jr.key(0))
