"""The parametric method before it learned anything: its frame against exact posteriors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.optimize import minimize

import amortppl as ap
from amortppl.method import final
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch


def line(x, y=None):
    """Two weights, known noise: the posterior is Gaussian."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 0.5), obs=y)


def groups(n, y=None):
    """Two groups' means around zero, apart by an unknown scale."""
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("group", 2):
        effect = numpyro.sample("effect", dist.Normal(0, tau))
    with numpyro.plate("row", n):
        numpyro.sample("y", dist.Normal(effect[jnp.arange(n) % 2], 1), obs=y)


@pytest.fixture(scope="module")
def task():
    return ap.Task(line, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 32))


@pytest.fixture(scope="module")
def dataset(task):
    return task.simulate(jr.key(3), 32)


def exact(data):
    """Mean and covariance of the weights."""
    x, y = np.asarray(data["x"], np.float64), np.asarray(data["y"], np.float64)
    covariance = np.linalg.inv(np.eye(2) + x.T @ x / 0.25)
    return covariance @ x.T @ y / 0.25, covariance


def posterior(task, data, steps=1, **options):
    """Location and covariance of the untrained readout's frame, unconstrained."""
    method = construct(ap.method("parametric", width=4, hidden=8, **options).build, task, jr.key(0))
    state = jax.jit(lambda b: final(method, b, steps))(Batch(data, jnp.ones(32, bool)))
    readout = method.readout(state)
    inverse = np.linalg.inv(np.asarray(readout.frame.factor, np.float64))
    scale = np.diag(np.asarray(readout.scale.scale))
    return np.asarray(
        readout.scale.restore(readout.frame.location)
    ), scale @ inverse.T @ inverse @ scale


@pytest.mark.parametrize("steps", [1, 4])
def test_the_frame_of_a_gaussian_posterior_is_exact_in_any_number_of_steps(task, dataset, steps):
    """Evidence of mini-batches adds up; nothing here is random, so no correct program fails."""
    mean, covariance = posterior(task, dataset.data, steps)
    truth, spread = exact(dataset.data)
    np.testing.assert_allclose(mean, truth, atol=2e-3)
    np.testing.assert_allclose(covariance, spread, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 4])
def test_without_curvature_the_frame_is_near_in_any_number_of_steps(task, dataset, steps):
    """The mode from gradients, the precision from 256 simulated rows a step: sd 5%, tolerance four
    times that.
    """
    mean, covariance = posterior(task, dataset.data, steps, signals=("gradient",))
    truth, spread = exact(dataset.data)
    np.testing.assert_allclose(mean, truth, atol=2e-2)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), np.sqrt(np.diag(spread)), rtol=0.2)


def test_what_was_learned_fades_beyond_the_rows_trained_on(task):
    """A network that is wrong by 4.8 sds at 32 rows is wrong by a quarter of them at 512.

    With coefficients a quarter as large it was by 0.83: the parts of a flow cancel one another's
    shifts. Nothing is trained, the posterior is exact; of 20,000 draws, five standard errors.
    """
    options = {"width": 4, "hidden": 8, "density": "triangular"}
    method = construct(ap.method("parametric", **options).build, task, jr.key(0))
    wrong = jr.normal(jr.key(1), (method.density.coefficients,))
    method = eqx.tree_at(lambda m: m.correct, method, lambda _: wrong)

    @jax.jit
    def drawn(batch):
        return method.readout(final(method, batch, 1)).sample(jr.key(2), 20_000)[0]

    off = {}
    for rows in (32, 512):
        data = task.simulate(jr.key(3), rows).data
        mean, covariance = exact(data)
        miss = np.asarray(drawn(Batch(data, jnp.ones(rows, bool)))).mean(0) - mean
        off[rows] = np.linalg.solve(np.linalg.cholesky(covariance), miss)
    assert np.linalg.norm(off[32]) > 4
    np.testing.assert_allclose(np.linalg.norm(off[512]), np.linalg.norm(off[32]) / 4, atol=0.1)


def noisy(x, y=None):
    """Unknown noise: from the prior's centre, residuals may be thousands of its sds."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", dist.LogNormal(-2, 2))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, sigma), obs=y)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.003, 0.1, 10.0])
def test_gradients_alone_reach_the_mode_from_a_bad_start(sigma):
    """Residuals of up to 700 sds at the end, 15 at the start; truth: scipy's mode in float64, in
    posterior sds.
    """
    task = ap.Task(noisy, {"x": dist.Normal(0, 1).expand([2])}, rows=(8, 256))
    random = np.random.default_rng(0)
    x = random.standard_normal((256, 2))
    y = x @ [2.0, -1.0] + sigma * random.standard_normal(256)

    def energy(at):
        """-log joint at (log sigma, w), up to a constant."""
        miss = np.sum((y - x @ at[1:]) ** 2) / np.exp(2 * at[0])
        return 256 * at[0] + 0.5 * (miss + at[1:] @ at[1:] + ((at[0] + 2) / 2) ** 2)

    best = minimize(
        energy,
        [np.log(sigma), 2.0, -1.0],
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-8},
    ).x
    method = construct(
        ap.method("parametric", width=4, hidden=8, signals=("gradient",)).build, task, jr.key(0)
    )
    data = {"x": jnp.asarray(x, jnp.float32), "y": jnp.asarray(y, jnp.float32)}
    readout = method.readout(jax.jit(lambda b: final(method, b))(Batch(data, jnp.ones(256, bool))))
    location = np.asarray(readout.scale.restore(readout.frame.location), np.float64)
    precision = np.diag([2 * 256.0, 1.0, 1.0])
    precision[1:, 1:] += x.T @ x / np.exp(2 * best[0])
    sds = np.sqrt(np.diag(np.linalg.inv(precision)))
    np.testing.assert_allclose((location - best) / sds, 0.0, atol=0.1)
    factor = np.asarray(readout.frame.factor, np.float64)
    spread = np.sqrt(np.diag(np.linalg.inv(factor @ factor.T))) * np.asarray(readout.scale.scale)
    np.testing.assert_allclose(spread, sds, rtol=0.4)


def test_data_alone_leaves_the_frame_at_the_prior(task, dataset):
    mean, covariance = posterior(task, dataset.data, signals=("data",), density="gaussian")
    np.testing.assert_allclose(mean, 0, atol=0.1)
    np.testing.assert_allclose(covariance, np.eye(2), atol=0.1)


@pytest.mark.parametrize(
    ("signals", "change"), [(("data",), True), (("data", "gradient", "curvature"), False)]
)
def test_beside_a_frame_the_networks_see_some_of_many_rows(task, signals, change):
    """Of 64 rows, 32 trained on, every second; of data alone every row counts, and each keeps its
    weight.
    """
    method = construct(
        ap.method("parametric", width=4, hidden=8, signals=signals).build, task, jr.key(0)
    )
    data = task.simulate(jr.key(0), 64).data
    other = data | {"y": data["y"] + jnp.where(jnp.arange(64) % 2, 1.0, 0.0)}
    step = jax.jit(lambda data: method.step(method.init(), Batch(data, jnp.ones(64, bool))))
    states = [step(d) for d in (data, other)]
    assert bool(jnp.any(states[0].context != states[1].context)) == change
    rows = Batch(data, jnp.ones(64, bool) if change else jnp.arange(64) % 2 == 0)
    seen = method.encode(method.rows(rows.data), rows.mask) / jnp.sum(rows.mask)
    np.testing.assert_allclose(states[0].context, seen, rtol=1e-4, atol=1e-5)


def test_defaults_follow_the_task(task):
    spec = ap.method("parametric")
    assert spec.resolved(task).signals == ("data", "gradient", "curvature")
    assert spec.resolved(ap.model("two_moons")).signals == ("data",)
    assert spec.resolved(ap.model("two_moons")).density == "spline_flow"
    assert spec.resolved(ap.model("causal_order")).density == "diagonal"
    assert [spec.resolved(t).density for t in (task, ap.Task(groups, rows=8))] == [
        "mixture",
        "triangular",
    ]


def test_an_unknown_signal_is_named():
    with pytest.raises(LookupError, match="'hessian'"):
        ap.method("parametric", signals=("data", "hessian"))


class Scatter(dist.Distribution):
    """A simulator: it can be sampled, and has no density."""

    support = dist.constraints.real
    pytree_data_fields = ("loc",)

    def __init__(self, loc):
        self.loc = loc
        super().__init__(jnp.shape(loc), ())

    def sample(self, key, sample_shape=()):
        return self.loc + jr.normal(key, sample_shape + self.batch_shape)


def scattered(n, y=None):
    centre = numpyro.sample("centre", dist.Normal(0, 1))
    with numpyro.plate("row", n):
        numpyro.sample("y", Scatter(jnp.broadcast_to(centre, (n,))), obs=y)


@pytest.mark.slow
def test_a_simulator_without_a_density_learns_from_data_and_says_it_was_not_checked():
    task = ap.Task(scattered, rows=(8, 8))
    assert not task.has_density
    guide = ap.train(
        task, ap.method("parametric", width=8, hidden=16), steps=25, batch=16, progress=False
    )
    post = guide.infer({"y": np.zeros(8)}, draws=50)
    assert np.isnan(post["sample_stats"]["khat"]) and "log_likelihood" not in post
