"""An in-context predictor that adapts by gradient: where it begins, and that steps help on another
family.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import GuideError
from amortppl.method import final
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch

SIZES = {"width": 16, "layers": 1, "hidden": 16, "capacity": 32}


def family(centre):
    """Lines through the origin whose slopes scatter by 0.1 about `centre`."""

    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(centre, 0.1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 0.3), obs=y)

    return ap.Task(model, {"x": dist.Normal(0, 1)}, rows=(4, 32), name=f"slope_{centre}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A guide of slopes about 1."""
    guide = ap.train(family(1.0), ap.method("prior_fitted", **SIZES), steps=200, progress=False)
    return str(guide.save(tmp_path_factory.mktemp("guides") / "plain"))


def built(folder, task, **options):
    return construct(ap.method("maml_in_context", start=folder, **options).build, task, jr.key(5))


@pytest.mark.slow
def test_without_steps_it_is_the_guide_that_it_begins_with(folder):
    task = family(1.0)
    method = built(folder, task, updates=0)
    data = task.simulate(jr.key(1), 20).data
    rows, query = (
        Batch({n: v[:12] for n, v in data.items()}, jnp.ones(12, bool)),
        {n: v[12:] for n, v in data.items()},
    )
    log_density = eqx.filter_jit(
        lambda: method.predictive(final(method, rows), query).log_prob(query)
    )()
    plain = ap.load(folder, task=task).log_predictive(
        {n: np.asarray(v) for n, v in rows.data.items()}, query
    )
    np.testing.assert_allclose(log_density, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_adapts_to_a_family_of_other_slopes(folder):
    """Slopes about -1, never trained on: 20 steps on 24 rows gain over none, in the mean of 32
    tasks.
    """
    task = family(-1.0)
    data = jax.vmap(lambda k: task.simulate(k, 40).data)(jr.split(jr.key(2), 32))

    def mean_log_density(updates):
        method = built(folder, task, updates=updates, rate=0.02)

        def one(data):
            rows = Batch({n: v[:24] for n, v in data.items()}, jnp.ones(24, bool))
            query = {n: v[24:] for n, v in data.items()}
            return jnp.mean(method.predictive(final(method, rows), query).log_prob(query))

        return np.asarray(eqx.filter_jit(jax.vmap(one))(data))

    gains = mean_log_density(20) - mean_log_density(0)
    # A correct program fails where the gain is within 4 standard errors of none.
    assert gains.mean() > 4 * gains.std() / len(gains) ** 0.5


def test_a_folder_without_a_guide_is_refused(tmp_path):
    with pytest.raises(GuideError, match="start: expected the folder of a guide"):
        ap.method("maml_in_context", start=str(tmp_path)).build(family(1.0), jr.key(0))


@pytest.mark.slow
def test_a_guide_of_arguments_of_other_shapes_is_refused(folder):
    def plane(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(x @ w, 0.3), obs=y)

    with pytest.raises(GuideError, match="must be of the same shapes"):
        built(folder, ap.Task(plane, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 32)))
