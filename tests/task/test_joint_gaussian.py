"""Rows tied to one another by a Gaussian over all of them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import integrate, stats

import amortppl as ap
from amortppl.errors import DataError, GuideError, ModelError
from amortppl.posterior.new_rows import leave_one_out, new_rows
from amortppl.task.batch import Batch
from conjugate import SMALL, untrained


def covariance(x, scale, np=np):
    return scale**2 * np.exp(-0.5 * (x[:, None] - x) ** 2) + 0.2 * np.eye(len(x))


def smooth(x, y=None):
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
    numpyro.sample("y", dist.MultivariateNormal(0.3 * x, covariance(x, scale, jnp)), obs=y)


def known_kernel(x, y=None):
    numpyro.sample("y", dist.MultivariateNormal(0.3 * x, covariance(x, 1.0, jnp)), obs=y)


@pytest.fixture(scope="module")
def task():
    return ap.Task(smooth, {"x": dist.Uniform(-2, 2)}, rows=(4, 16))


@pytest.fixture(scope="module")
def guide(task):
    """In a frame from the exact marginal likelihood, one latent is nearly Gaussian from the
    start.
    """
    return untrained(task, ap.method("parametric", **SMALL))


@pytest.fixture(scope="module")
def data(task):
    draw = task.simulate(jr.key(3), 12)
    return {n: np.asarray(v) for n, v in draw.data.items()}


def test_it_is_found(task):
    assert (
        task.tied == {"y"}
        and task.latents.names == ["scale"]
        and task.has_density
        and task.likelihood
    )


def test_rows_add_up_to_the_joint_density_and_padding_changes_nothing(task, data):
    """Against SciPy's density in float64."""
    own = {n: v[:7] for n, v in data.items()}
    truth = stats.multivariate_normal(0.3 * own["x"], covariance(own["x"], np.exp(0.4))).logpdf(
        own["y"]
    )
    padded = {n: jnp.asarray(np.concatenate([v, np.repeat(v[:1], 5)])) for n, v in own.items()}
    vector = jnp.array([0.4])
    assert abs(float(task.log_likelihood(vector, Batch(padded, jnp.arange(12) < 7))) - truth) < 1e-4
    assert abs(float(jnp.sum(task.log_densities(vector, own)[1])) - truth) < 1e-4


def conditional(x, y, place, scale):
    """Mean and sd of y[place] given the others, from the joint Gaussian."""
    rest = np.delete(np.arange(len(x)), place)
    whole = covariance(x, scale)
    gain = np.linalg.solve(whole[np.ix_(rest, rest)], whole[rest, place])
    mean = 0.3 * x[place] + gain @ (y - 0.3 * x)[rest]
    return mean, np.sqrt(whole[place, place] - gain @ whole[rest, place])


def test_each_row_given_the_others(task, data):
    log_densities = np.asarray(leave_one_out(task, jnp.array([0.4]), data))
    x, y = (np.asarray(data[n], np.float64) for n in "xy")
    truth = [stats.norm(*conditional(x, y, i, np.exp(0.4))).logpdf(y[i]) for i in range(len(x))]
    np.testing.assert_allclose(log_densities, truth, atol=1e-4)


def test_new_rows_given_those_the_mask_keeps(task, data):
    x, y = (np.asarray(data[n], np.float64) for n in "xy")
    context = Batch({n: jnp.asarray(v[:9]) for n, v in data.items()}, jnp.arange(9) < 6)
    given = new_rows(task, jnp.array([0.4]), context, {"x": jnp.asarray(data["x"][9:])})["y"]
    for place in range(3):
        kept = [*range(6), 9 + place]
        mean, sd = conditional(x[kept], y[kept], 6, np.exp(0.4))
        assert abs(float(given.mean[place]) - mean) < 1e-4
        assert abs(float(jnp.linalg.norm(given.factor[place])) - sd) < 1e-4


def exact(data, new):
    """Log predictive density of each new row, the scale integrated out by quadrature."""
    x, y = (np.asarray(data[n], np.float64) for n in "xy")

    def weight(log_scale):
        density = stats.multivariate_normal(0.3 * x, covariance(x, np.exp(log_scale))).logpdf(y)
        return np.exp(density + stats.norm(0, 0.5).logpdf(log_scale))

    total = integrate.quad(weight, -3, 3)[0]
    log_densities = []
    for at, value in zip(new["x"], new["y"], strict=True):
        both = np.append(x, at), np.append(y, value)

        def density(log_scale, both=both):
            gaussian = conditional(*both, len(x), np.exp(log_scale))
            return weight(log_scale) * stats.norm(*gaussian).pdf(both[1][-1])

        log_densities.append(np.log(integrate.quad(density, -3, 3)[0] / total))
    return np.array(log_densities)


def test_predictive_density_is_the_exact_one(guide, data):
    """What is left is the guide's own error and that of 2000 draws."""
    context, new = {n: v[:8] for n, v in data.items()}, {n: v[8:] for n, v in data.items()}
    np.testing.assert_allclose(
        guide.log_predictive(context, new, draws=2000), exact(context, new), atol=0.03
    )


def moments_at_zero(data):
    """Mean and sd of a new row at x = 0, the scale integrated out by quadrature."""
    x, y = (np.asarray(data[n], np.float64) for n in "xy")

    def weight(log_scale):
        density = stats.multivariate_normal(0.3 * x, covariance(x, np.exp(log_scale))).logpdf(y)
        return np.exp(density + stats.norm(0, 0.5).logpdf(log_scale))

    def moment(power):
        def height(log_scale):
            mean, sd = conditional(np.append(x, 0.0), np.append(y, 0.0), len(x), np.exp(log_scale))
            return weight(log_scale) * (1.0, mean, mean**2 + sd**2)[power]

        return integrate.quad(height, -3, 3)[0]

    total, first, second = (moment(power) for power in range(3))
    return first / total, np.sqrt(second / total - (first / total) ** 2)


def test_predictive_draws_follow_the_rows_known(guide):
    """One new row a call; mean within 4 and sd within 5 standard errors of the draws: false alarms
    1 in 10,000.
    """
    context = {"x": np.linspace(-1, 1, 9, dtype=np.float32), "y": np.full(9, 2.0, np.float32)}
    drawn = guide.predict(context, {"x": np.zeros(1, np.float32)}, draws=2000)["predictions"][
        "y"
    ].values.ravel()
    mean, sd = moments_at_zero(context)
    assert abs(drawn.mean() - mean) < 4 * sd / np.sqrt(2000)
    assert abs(drawn.std() / sd - 1) < 5 / np.sqrt(2 * 2000)


def test_without_rows_draws_are_the_priors(guide):
    """y at 0 has mean 0 and variance v = E scale^2 + 0.2 = 1.85, and y^2 variance 20.9.

    Mean within 4 standard errors, variance within 5 (of 20,000 simulated samples one was further
    off in variance): false alarms 1 in 10,000.
    """
    drawn = guide.predict(None, {"x": np.zeros(1, np.float32)}, draws=2000)["predictions"][
        "y"
    ].values.ravel()
    variance = np.exp(0.5) + 0.2
    assert abs(drawn.mean()) < 4 * np.sqrt(variance / 2000)
    assert abs(drawn.var() - variance) < 5 * np.sqrt(20.9 / 2000)
    several = guide.predict(None, {"x": np.linspace(-1, 1, 3, dtype=np.float32)}, draws=50)
    assert several["predictions"]["y"].shape == (1, 50, 3)


def test_an_answer_has_its_checks(guide, data):
    tree = guide.infer(data, draws=200)
    assert tree["log_likelihood"]["y"].shape == (1, 200, 12)
    assert float(tree["sample_stats"]["khat"]) < 0.7


def test_mini_batches_are_refused(guide, data):
    with pytest.raises(GuideError, match=r"tied to one another.*infer all rows at once"):
        guide.infer(ap.batches(data, size=4), progress=False)
    state = guide.step(guide.init(), data)
    other = guide.step(guide.init(), {n: v + 0.1 for n, v in data.items()})
    for again in (lambda: guide.step(state, data), lambda: ap.combine([state, other])):
        with pytest.raises(GuideError, match=r"tied to one another"):
            again()
    spec = ap.method("parametric", **SMALL)
    with pytest.raises(GuideError, match="mini_batches=1"):
        ap.train(guide.task, spec, steps=1, mini_batches=2, progress=False)
    with pytest.raises(DataError, match="pass the rows themselves"):
        guide.predict(state, {"x": data["x"]})


def test_without_latents_only_what_predicts_serves():
    task = ap.Task(known_kernel, {"x": dist.Uniform(-2, 2)}, rows=(4, 16))
    assert task.latents.size == 0
    with pytest.raises(ModelError, match=r"no latents to infer.*'in_context'"):
        ap.train(task, "parametric", steps=1)


@pytest.mark.slow
def test_without_latents_a_predictor_learns():
    task = ap.Task(known_kernel, {"x": dist.Uniform(-2, 2)}, rows=(4, 16))
    guide = ap.train(task, "conditional_neural_process", steps=1, batch=8, progress=False)
    draw = jax.tree.map(np.asarray, task.simulate(jr.key(0), 6).data)
    assert np.isfinite(guide.log_predictive(draw, draw)).all()


def test_rows_of_which_only_some_are_tied_are_refused():
    def mixed(x, y=None, z=None):
        scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
        numpyro.sample("y", dist.MultivariateNormal(x, covariance(x, scale, jnp)), obs=y)
        with numpyro.plate("row", len(x)):
            numpyro.sample("z", dist.Normal(0, scale), obs=z)

    with pytest.raises(ModelError, match=r"the rows of 'y' are tied.*those of 'z' are not"):
        ap.Task(mixed, {"x": dist.Uniform(-2, 2)}, rows=(4, 16))


def test_a_mask_on_tied_rows_is_refused():
    def masked(x, y=None):
        scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
        numpyro.sample(
            "y", dist.MultivariateNormal(x, covariance(x, scale, jnp)).mask(jnp.array(True)), obs=y
        )

    with pytest.raises(ModelError, match=r"the rows of 'y' are tied.*a mask cannot"):
        ap.Task(masked, {"x": dist.Uniform(-2, 2)}, rows=(4, 16))


def test_shapes_alone_may_be_changed():
    def expanded(x, y=None):
        scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
        gaussian = dist.MultivariateNormal(x, covariance(x, scale, jnp))
        numpyro.sample("y", dist.ExpandedDistribution(gaussian, ()).to_event(0), obs=y)

    assert ap.Task(expanded, {"x": dist.Uniform(-2, 2)}, rows=(4, 16)).tied == {"y"}
