"""Log densities against NumPyro's own and Jacobians by autodiff; every model that cannot be read
says why.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.distributions import biject_to, constraints
from numpyro.infer.util import log_density

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.task.batch import Batch


def supports(x, y=None, k=None):
    """Latents of every support, one bounded by another, two observed sites."""
    simplex = numpyro.sample("simplex", dist.Dirichlet(jnp.ones(3)))
    corr = numpyro.sample("corr", dist.LKJCholesky(3, 2.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1).expand([2]).to_event(1))
    low = numpyro.sample("low", dist.Uniform(-2, -1))
    between = numpyro.sample("between", dist.Uniform(low, 1))
    cut = numpyro.sample(
        "cut", dist.TransformedDistribution(dist.Normal(0, 1).expand([3]).to_event(1), ordered())
    )
    matrix = numpyro.sample("matrix", dist.Normal(0, 1).expand([2, 2]))
    with numpyro.plate("groups", 2):
        group = numpyro.sample("group", dist.Gamma(2, 2))
    level = simplex.sum() + corr.sum() + between + cut.sum() + matrix.sum() + group.sum()
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(level * x, scale[0]), obs=y)
        numpyro.sample("k", dist.Poisson(scale[1]), obs=k)


def ordered():
    return dist.transforms.OrderedTransform()


def mean(rows, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 2))
    with numpyro.plate("obs", rows):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def noise(x, y=None):
    """For tasks where only the signature matters."""
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(x, sigma), obs=y)


@pytest.fixture(scope="module")
def task():
    return ap.Task(supports, {"x": dist.Normal(0, 1)}, rows=(4, 16))


@pytest.fixture(scope="module")
def drawn(task):
    return jax.jit(task.simulate, static_argnums=1)(jr.key(0), 6)


def test_sites_are_found(task):
    assert task.arguments == ["x", "y", "k"]
    assert task.observed == {"y": "y", "k": "k"}
    assert task.latents.names == sorted(
        ["simplex", "corr", "scale", "low", "between", "cut", "matrix", "group"]
    )
    assert task.latents.unconstrained["simplex"] == (2,)
    assert task.latents.unconstrained["corr"] == (3,)
    assert task.latents.size == 2 + 3 + 2 + 1 + 1 + 3 + 4 + 2


def test_joint_density_is_numpyros(task, drawn):
    data = drawn.data
    values = task.constrain(drawn.latents, data)
    conditioned = handlers.condition(supports, {"y": data["y"], "k": data["k"]})
    expected, _ = log_density(conditioned, (data["x"],), {}, values)
    _, jacobians = task.sites_at(drawn.latents, data)
    joint = task.log_joint(drawn.latents, Batch(data, jnp.ones(6, bool)))
    np.testing.assert_allclose(joint - sum(jacobians.values()), expected, rtol=1e-4)


def test_prior_and_rows_add_up_to_the_joint(task, drawn):
    prior, rows = task.log_densities(drawn.latents, drawn.data)
    assert rows.shape == (6,)
    batch = Batch(drawn.data, jnp.ones(6, bool))
    np.testing.assert_allclose(prior + rows.sum(), task.log_joint(drawn.latents, batch), rtol=1e-5)
    np.testing.assert_allclose(task.log_prior(drawn.latents), prior, rtol=1e-6)
    values = task.constrain(drawn.latents, drawn.data)
    direct = dist.Normal(0, values["scale"][0]).log_prob(0.0) + dist.Poisson(
        values["scale"][1]
    ).log_prob(drawn.data["k"][0])
    at_zero = dict(drawn.data, x=jnp.zeros(6), y=jnp.zeros(6))
    np.testing.assert_allclose(task.log_densities(drawn.latents, at_zero)[1][0], direct, rtol=1e-5)


def test_density_of_latents_in_a_scan_is_numpyros():
    def walk(y=None):
        def step(level, _):
            level = numpyro.sample("level", dist.TruncatedNormal(level, 0.5, low=-3.0, high=3.0))
            return level, level

        numpyro.sample("y", dist.Normal(scan(step, 0.0, None, length=5)[1], 1), obs=y)

    task = ap.Task(walk, rows=None)
    vector, data = task.simulate(jr.key(0), 1)
    values, jacobians = task.sites_at(vector, data)
    expected, _ = log_density(walk, (), {"y": data["y"][0]}, values)
    prior, rows = task.log_densities(vector, data)
    np.testing.assert_allclose(prior + rows[0] - jacobians["level"], expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["scale", "low", "between", "matrix", "group", "cut"])
def test_jacobians_are_determinants(task, drawn, name):
    """For supports whose values have as many entries as their unconstrained vector."""
    start = drawn.latents

    def constrained(entry):
        sites = task.latents.unflatten(start) | {name: entry}
        return task.sites_at(task.latents.flatten(sites), drawn.data)[0][name].ravel()

    entry = task.latents.unflatten(start)[name]
    matrix = jax.jacobian(constrained)(entry).reshape(entry.size, entry.size)
    np.testing.assert_allclose(
        task.sites_at(start, drawn.data)[1][name],
        jnp.linalg.slogdet(matrix)[1],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("name", "free"),
    [("simplex", lambda v: v[:-1]), ("corr", lambda v: v[jnp.tril_indices(3, -1)])],
)
def test_jacobians_of_constrained_matrices_are_determinants(task, drawn, name, free):
    """The free entries of a simplex and of a correlation matrix's Cholesky factor."""
    entry = task.latents.unflatten(drawn.latents)[name]
    transform = biject_to(task_support(name))
    matrix = jax.jacobian(lambda u: free(transform(u)))(entry)
    np.testing.assert_allclose(
        task.sites_at(drawn.latents, drawn.data)[1][name], jnp.linalg.slogdet(matrix)[1], rtol=1e-4
    )


def task_support(name):
    return {"simplex": constraints.simplex, "corr": constraints.corr_cholesky}[name]


def test_unconstrain_inverts_constrain(task, drawn):
    values = task.constrain(drawn.latents, drawn.data)
    np.testing.assert_allclose(
        task.unconstrain(values, drawn.data), drawn.latents, rtol=2e-3, atol=2e-3
    )


def test_masked_rows_do_not_count(task, drawn):
    pad = {n: jnp.concatenate([v, jnp.repeat(v[:1], 4, 0)]) for n, v in drawn.data.items()}
    unpadded = task.log_joint(drawn.latents, Batch(drawn.data, jnp.ones(6, bool)))
    np.testing.assert_allclose(
        task.log_joint(drawn.latents, Batch(pad, jnp.arange(10) < 6)), unpadded, rtol=1e-5
    )


def test_jit_vmap_and_grad(task):
    draws = jax.jit(jax.vmap(lambda k: task.simulate(k, 6)))(jr.split(jr.key(1), 5))
    batch = Batch(draws.data, jnp.ones((5, 6), bool))
    together = jax.jit(jax.vmap(jax.value_and_grad(task.log_joint)))(draws.latents, batch)
    assert together[1].shape == (5, task.latents.size)
    one = task.log_joint(draws.latents[2], jax.tree.map(lambda a: a[2], batch))
    np.testing.assert_allclose(together[0][2], one, rtol=1e-4)
    assert np.isfinite(np.asarray(together[1])).all()


def test_permuting_rows_changes_nothing(task, drawn):
    turned = {n: v[::-1] for n, v in drawn.data.items()}
    ones = jnp.ones(6, bool)
    same = task.log_likelihood(drawn.latents, Batch(turned, ones))
    np.testing.assert_allclose(
        same, task.log_likelihood(drawn.latents, Batch(drawn.data, ones)), rtol=1e-5
    )


def test_rows_by_a_count():
    task = ap.Task(mean, rows=(2, 8))
    assert task.count == "rows" and task.arguments == ["y"]
    draw = task.simulate(jr.key(0), 5)
    assert draw.data["y"].shape == (5,)
    expected = dist.Normal(draw.latents[0], 1).log_prob(draw.data["y"])
    np.testing.assert_allclose(task.log_densities(draw.latents, draw.data)[1], expected, rtol=1e-6)


def test_simulated_moments():
    """var(y) = 2^2 + 1. 4000 draws: a correct program fails the 5-sd bound once in 10^6 seeds."""
    draws = jax.vmap(lambda k: ap.Task(mean, rows=1).simulate(k, 1).data["y"][0])(
        jr.split(jr.key(0), 4000)
    )
    assert abs(np.var(draws) - 5) < 5 * 5 * (2 / 4000) ** 0.5


def test_constants_and_differently_named_argument():
    def model(x, power, target=None, shift=1.0):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("obs", x.shape[0]):
            numpyro.sample("response", dist.Normal(w * x**power + shift, 1), obs=target)

    task = ap.Task(model, {"x": dist.Normal(0, 1)}, constants={"power": 3})
    assert task.observed == {"target": "response"} and task.arguments == ["x", "target"]
    draw = task.simulate(jr.key(0), 4)
    expected = dist.Normal(draw.latents[0] * draw.data["x"] ** 3 + 1.0, 1).log_prob(
        draw.data["target"]
    )
    np.testing.assert_allclose(task.log_densities(draw.latents, draw.data)[1], expected, rtol=1e-5)


def test_observations_by_the_sites_name():
    def model(x):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("obs", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1))

    task = ap.Task(model, {"x": dist.Normal(0, 1)}, observed=["y"])
    draw = task.simulate(jr.key(0), 4)
    assert set(draw.data) == {"x", "y"} and task.latents.names == ["w"]
    expected, _ = log_density(
        handlers.condition(model, {"y": draw.data["y"]}),
        (draw.data["x"],),
        {},
        {"w": draw.latents[0]},
    )
    np.testing.assert_allclose(
        task.log_joint(draw.latents, Batch(draw.data, jnp.ones(4, bool))), expected, rtol=1e-5
    )


def test_a_block_is_one_row():
    def walk(y=None):
        step = numpyro.sample("step", dist.HalfNormal(1))
        numpyro.sample("y", dist.GaussianRandomWalk(step, 6), obs=y)

    task = ap.Task(walk, rows=None)
    draw = task.simulate(jr.key(0), 1)
    assert task.block and draw.data["y"].shape == (1, 6)
    _, rows = task.log_densities(draw.latents, draw.data)
    assert rows.shape == (1,)
    expected = dist.GaussianRandomWalk(jnp.exp(draw.latents[0]), 6).log_prob(draw.data["y"][0])
    np.testing.assert_allclose(rows[0], expected, rtol=1e-4)


def test_scaled_sites_count_scaled():
    def model(x, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("obs", x.shape[0]), handlers.scale(scale=0.5):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    task = ap.Task(model, {"x": dist.Normal(0, 1)})
    draw = task.simulate(jr.key(0), 4)
    expected = 0.5 * dist.Normal(draw.latents[0] * draw.data["x"], 1).log_prob(draw.data["y"])
    np.testing.assert_allclose(task.log_densities(draw.latents, draw.data)[1], expected, rtol=1e-5)


def test_fingerprint_tells_models_apart():
    def other(x, y=None):
        sigma = numpyro.sample("sigma", dist.Gamma(1, 1))
        with numpyro.plate("obs", x.shape[0]):
            numpyro.sample("y", dist.Normal(x, sigma), obs=y)

    x = {"x": dist.Normal(0, 1)}
    assert ap.Task(noise, x).fingerprint == ap.Task(noise, x, rows=(3, 5)).fingerprint
    assert ap.Task(noise, x).fingerprint != ap.Task(other, x).fingerprint


def test_the_users_handlers_see_nothing_of_the_engine(task, drawn):
    with handlers.trace() as seen:
        task.log_joint(drawn.latents, Batch(drawn.data, jnp.ones(6, bool)))
    assert not seen


# Models that cannot be read.


def discrete(x, y=None):
    z = numpyro.sample("z", dist.Bernoulli(0.5))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(z + x, 1), obs=y)


def unobserved(x):
    numpyro.sample("w", dist.Normal(x.mean(), 1))


def no_latent(x, y=None):
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(x, 1), obs=y)


def branch(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    z = numpyro.sample("z", dist.Normal(mu, 1))
    level = mu if z > 0 else -mu
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(level + x, 1), obs=y)


def loop(x, y=None):
    rate = numpyro.sample("rate", dist.HalfNormal(1))
    level = sum(range(int(10 * rate)))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(level + x, 1), obs=y)


def branch_on_input(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    level = mu if x[0] > 0 else -mu
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(level, 1), obs=y)


def local(x, y=None):
    with numpyro.plate("obs", x.shape[0]):
        b = numpyro.sample("b", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(b + x, 1), obs=y)


def penalised(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    numpyro.factor("penalty", -(w**4))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(w * x, 1), obs=y)


def transformed(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(w * x, 1), obs=None if y is None else jnp.log(y))


def ignored(x, y=None, z=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(w * x, 1), obs=y)


def two_unknown(a, b, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("obs", a.shape[0]):
        numpyro.sample("y", dist.Normal(w * a + b, 1), obs=y)


def fails(x, y=None):
    raise RuntimeError("the model's own trouble")


def star(*args):
    pass


def whole(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(w * x, 1).to_event(1), obs=y)


X = {"x": dist.Normal(0, 1)}


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (discrete, X, ["'z'", "discrete", "MixtureSameFamily"]),
        (unobserved, X, ["no observed site", "'w'", "obs="]),
        (no_latent, X, ["no latent site", "'y'"]),
        (branch, X, ["control flow on the latent 'z':", "jnp.where"]),
        (loop, X, ["control flow on the latent 'rate':"]),
        (branch_on_input, X, ["control flow on the input 'x':"]),
        (local, X, ["'b'", "one value per row", "rows=None"]),
        (penalised, X, ["'penalty'", "factor"]),
        (transformed, X, ["'y'", "only after a change"]),
        (ignored, X, ["'z' defaults to None", "no sample site is observed"]),
        (two_unknown, {}, ["nothing describes", "'a', 'b'"]),
        (noise, {"X": dist.Normal(0, 1)}, ["'X' is not an argument", "did you mean 'x'?"]),
        (noise, {"x": object()}, ["inputs['x']", "object"]),
        (noise, {"x": [1.0, np.nan]}, ["inputs['x']", "missing"]),
        (noise, {"x": lambda key, n: jnp.zeros(3)}, ["inputs['x']", "shape (3,)"]),
        (fails, X, ["the model's own trouble", "RuntimeError"]),
        (star, {}, ["must have names"]),
        (whole, X, ["'y'", "no axis of rows", "rows=None"]),
    ],
)
def test_bad_models_are_named(model, inputs, words):
    with pytest.raises(ModelError) as caught:
        ap.Task(model, inputs)
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize("rows", [(5, 4), (0, 4), 0])
def test_bad_rows(rows):
    with pytest.raises(ModelError, match="1 <= smallest <= largest"):
        ap.Task(noise, X, rows=rows)


def test_misspelt_observed_site():
    with pytest.raises(ModelError, match="did you mean 'sigma'"):
        ap.Task(noise, X, observed=["sigmma"])
