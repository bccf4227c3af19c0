"""`numpyro.factor` as a log likelihood, with the simulation that its user tells."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.runtime.numpy_evaluation import evaluate

X = {"x": dist.Normal(0, 1)}


def line(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    s = numpyro.sample("s", dist.HalfNormal(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.factor("likelihood", -0.5 * ((y - b * x) / s) ** 2 - jnp.log(s))


def around_line(key, latents, inputs):
    noise = jr.normal(key, inputs["x"].shape)
    return latents["b"] * inputs["x"] + latents["s"] * noise


def test_a_factor_is_the_density_of_what_is_simulated():
    """Up to the constant that the factor leaves out."""
    task = ap.Task(line, X, (8, 32), simulate={"y": around_line})
    draw = jax.tree.map(jnp.asarray, evaluate(lambda k: task.simulate(k, 400), jr.key(0)))
    x, y = (np.asarray(draw.data[n], float) for n in "xy")
    b, s = (float(v) for v in task.constrain(draw.latents, draw.data).values())
    rows = np.asarray(task.log_densities(draw.latents, draw.data)[1])
    law = stats.norm(b * x, s)
    assert rows == pytest.approx(law.logpdf(y) + np.log(2 * np.pi) / 2, abs=1e-4)
    assert stats.kstest(law.cdf(y), "uniform").pvalue > 1e-4  # false once in 10^4


def test_a_simulation_that_the_factor_does_not_follow_is_refused():
    wider = lambda k, latents, inputs: 1.3 * around_line(k, latents, inputs)  # noqa: E731
    with pytest.raises(ModelError, match=r"derivative by '[bs]', which is zero on average"):
        ap.Task(line, X, (8, 32), simulate={"y": wider})


@pytest.mark.slow
def test_factors_of_rows_in_groups():
    def schools(school, n_school, y=None):
        m = numpyro.sample("m", dist.Normal(0, 1))
        with numpyro.plate("schools", n_school):
            u = numpyro.sample("u", dist.Normal(m, 1))
        with numpyro.plate("row", school.shape[0]):
            numpyro.factor("likelihood", dist.Normal(u[school], 1).log_prob(y))

    def draw(key, latents, given):
        return latents["u"][given["school"]] + jr.normal(key, given["school"].shape)

    task = ap.Task(schools, groups={"school": (3, 5)}, rows=(1, 4), simulate={"y": draw})
    assert list(task.local.sites) == ["u"] and task.groups.sites == {"y"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Where a numpyro.factor is the log likelihood of an observation"),
        ({"simulate": {"z": around_line}}, "'z', which is no argument that defaults to None"),
        ({"simulate": {"y": lambda k, latents, i: latents["q"]}}, "fails: KeyError: 'q'"),
    ],
)
def test_what_is_told_wrong(given, words):
    with pytest.raises(ModelError, match=words):
        ap.Task(line, X, (8, 32), **given)


def test_a_sum_over_rows_is_refused():
    def model(x, y=None):
        b = numpyro.sample("b", dist.Normal(0, 1))
        numpyro.factor("likelihood", dist.Normal(b * x, 1.0).log_prob(y).sum())

    draw = lambda k, latents, given: latents["b"] * given["x"] + jr.normal(k, given["x"].shape)  # noqa: E731
    with pytest.raises(ModelError, match="one entry for each of its 7 rows"):
        ap.Task(model, X, (8, 32), simulate={"y": draw})
