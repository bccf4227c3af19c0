"""The conjugate head with the true prior and noise is the exact Bayesian regression."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from amortppl.inference.conjugate_head import PACE
from scipy import stats

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.method import final
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from conjugate import assert_disjoint_rows_add_up, line_model, line_posterior


@pytest.fixture(scope="module")
def method():
    """Features without influence, weights of unit prior variance and unit noise, all in the
    reader's units.
    """
    task = ap.Task(line_model, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 32))
    built = construct(
        ap.method("conjugate_head", features=2, hidden=4, scales=1).build, task, jr.key(0)
    )
    unit, read = built.reader.y_scale[0], built.reader
    read = eqx.tree_at(
        lambda r: (r.x_centre, r.x_scale, r.y_centre),
        read,
        (jnp.zeros(2), jnp.ones(2), jnp.zeros(1)),
    )
    still = jax.tree.map(lambda a: 0.0 * a if eqx.is_inexact_array(a) else a, built.bend)
    precision = jnp.array([10.0, 2 * jnp.log(unit), 2 * jnp.log(unit), 0.0, 0.0])
    changed = (read, still, precision / PACE, -jnp.log(unit)[None])
    return eqx.tree_at(lambda m: (m.reader, m.bend, m.slow_precision, m.log_noise), built, changed)


@pytest.mark.parametrize("steps", [1, 4])
def test_predictive_is_exact_in_any_number_of_steps(method, steps):
    """The intercept has prior variance exp(-10), which moves log densities by less than 1e-3."""
    data = method.task.simulate(jr.key(3), 24).data
    context, query = (
        {n: v[part] for n, v in data.items()} for part in (slice(0, 20), slice(20, 24))
    )
    state = eqx.filter_jit(lambda m, b: final(m, b, steps))(
        method, Batch(context, jnp.ones(20, bool))
    )
    mean, covariance = line_posterior(*(np.asarray(context[n], np.float64) for n in ("x", "y")))
    x = np.asarray(query["x"], np.float64)
    sd = np.sqrt(1 + np.einsum("qi,ij,qj->q", x, covariance, x))
    exact = stats.norm.logpdf(query["y"], x @ mean, sd)
    np.testing.assert_allclose(method.predictive(state, query).log_prob(query), exact, atol=3e-3)
    drawn = method.predictive(state, query).sample(jr.key(0), 4000)["y"]
    np.testing.assert_allclose(drawn.mean(0), x @ mean, atol=5 * sd.max() / 4000**0.5)
    np.testing.assert_allclose(drawn.std(0), sd, rtol=0.06)


def test_states_of_disjoint_rows_add_up(method):
    assert_disjoint_rows_add_up(method, atol=1e-4)


def test_counts_are_refused_with_what_serves_them():
    with pytest.raises(ModelError, match="discrete.*'in_context'.*'parametric'"):  # noqa: RUF043
        ap.method("conjugate_head").build(ap.model("poisson_regression"), jr.key(0))
