"""Latents of every row integrated out and read out, against closed forms and dense numerical
integration.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy import stats
from scipy.special import gammaln, logsumexp

import amortppl as ap
from amortppl.errors import DataError, ModelError
from amortppl.posterior import expanded_joint
from amortppl.task.batch import Batch
from conjugate import SMALL, untrained


def effects(x, y=None):
    """A normal effect for each row under normal noise: y_i ~ N(slope x_i, spread^2 + 0.5^2)."""
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("row", x.shape[0]):
        effect = numpyro.sample("effect", dist.Normal(0, spread))
        numpyro.sample("y", dist.Normal(slope * x + effect, 0.5), obs=y)


def reparameterised(x, y=None):
    """The same with effects in units of their spread."""
    config = {"effect": numpyro.infer.reparam.LocScaleReparam(0)}
    return handlers.reparam(effects, config=config)(x, y)


def counts(rows, y=None):
    """Poisson counts with a lognormal rate for each row."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("row", rows):
        effect = numpyro.sample("effect", dist.Normal(level, spread))
        numpyro.sample("y", dist.Poisson(jnp.exp(effect)), obs=y)


def half_missing(x, missing, y=None):
    """Linear regression on a covariate that some rows lack; x_i ~ N(centre, 1) fills it in."""
    centre, weight = (numpyro.sample(n, dist.Normal(0, 1)) for n in ("centre", "weight"))
    with numpyro.plate("row", x.shape[0]):
        filled = numpyro.sample("filled", dist.Normal(centre, 1))
        numpyro.sample("y", dist.Normal(weight * jnp.where(missing, filled, x), 0.3), obs=y)


def nested(x, y=None):
    """Two latents a row, one the other's mean, and a third with two entries."""
    spread = numpyro.sample("spread", dist.LogNormal(0, 0.5))
    with numpyro.plate("row", x.shape[0]):
        first = numpyro.sample("first", dist.Normal(x, spread))
        second = numpyro.sample("second", dist.Normal(first, 0.5))
        numpyro.sample("y", dist.Normal(second, 0.2), obs=y)


def several(x, y=None):
    """Five latents a row: the axes of a Gaussian."""
    spread = numpyro.sample("spread", dist.LogNormal(0, 0.5))
    with numpyro.plate("row", x.shape[0]):
        parts = numpyro.sample("parts", dist.Normal(0, spread).expand([5]).to_event(1))
        numpyro.sample("y", dist.Normal(x + parts.sum(-1), 0.2), obs=y)


X = {"x": dist.Normal(0, 1)}
ROWS = 12


@pytest.fixture(scope="module")
def effects_task():
    return ap.Task(effects, X, rows=(8, 64))


def simulated(task, seed=0, rows=ROWS):
    """Data, latents' vector, and shared latents by name (float64)."""
    draw = task.simulate(jr.key(seed), rows)
    values = task.constrain(draw.latents, draw.data)
    return (
        {n: np.asarray(v) for n, v in draw.data.items()},
        draw.latents,
        {n: np.float64(v) for n, v in values.items()},
    )


def rows_of(task, vector, data):
    return np.asarray(jax.jit(task.log_densities)(vector, data)[1])


# The integral.


def test_a_normal_effect_has_a_closed_form(effects_task):
    data, vector, theta = simulated(effects_task)
    exact = stats.norm.logpdf(data["y"], theta["slope"] * data["x"], np.hypot(theta["spread"], 0.5))
    np.testing.assert_allclose(rows_of(effects_task, vector, data), exact, atol=1e-5)
    assert effects_task.latents.names == ["slope", "spread"]
    assert list(effects_task.local.sites) == ["effect"]


def test_the_prior_is_that_of_the_shared_latents(effects_task):
    _, vector, theta = simulated(effects_task)
    prior = (
        stats.norm.logpdf(theta["slope"])
        + stats.halfnorm.logpdf(theta["spread"])
        + np.log(theta["spread"])
    )
    np.testing.assert_allclose(effects_task.log_prior(vector), prior, rtol=1e-5)


def test_reparameterised_models_have_the_same_integral(effects_task):
    task = ap.Task(reparameterised, X, rows=(8, 64))
    data, vector, _ = simulated(effects_task)
    np.testing.assert_allclose(
        rows_of(task, vector, data), rows_of(effects_task, vector, data), atol=1e-5
    )
    assert set(task.local.shown) == {"effect", "effect_decentered"}


@pytest.fixture(scope="module")
def counts_task():
    return ap.Task(counts, rows=(8, 64))


def lognormal_counts(y, level, spread):
    """Poisson-lognormal log probabilities by a trapezoid of 200,001 points."""
    grid = np.linspace(level - 14 * spread, max(level, np.log(y.max() + 1)) + 14 * spread, 200_001)
    density = (
        y[:, None] * grid
        - np.exp(grid)
        - gammaln(y + 1)[:, None]
        + stats.norm.logpdf(grid, level, spread)
    )
    return logsumexp(density, axis=1) + np.log(grid[1] - grid[0])


@pytest.mark.parametrize("spread", [0.01, 0.3, 1.0, 1.5])
@pytest.mark.parametrize("level", [-2.0, 0.0, 3.0])
def test_lognormal_counts_are_those_of_dense_integration(counts_task, level, spread):
    """Within 2e-5 nats, and float32's rounding of the terms: y log y for a count of 1000 is
    7000.
    """
    y = np.array([0, 1, 2, 5, 20, 100, 1000, 10])
    vector = jnp.array([level, np.log(spread)], jnp.float32)
    log_densities = rows_of(counts_task, vector, {"y": y})
    likely = lognormal_counts(y.astype(float), level, spread)
    assert (np.abs(log_densities - likely) < 2e-5 + 1e-7 * gammaln(y + 1)).all()


def test_the_gradient_is_that_of_dense_integration(counts_task):
    """Central differences of the dense integral in float64."""
    y, at = np.array([0.0, 1, 3, 10, 0, 2, 7, 1]), np.array([0.4, np.log(0.9)])

    def dense(vector):
        return lognormal_counts(y, vector[0], np.exp(vector[1])).sum()

    expected = [(dense(at + s) - dense(at - s)) / 2e-5 for s in 1e-5 * np.eye(2)]
    total = jax.jit(jax.grad(lambda v: counts_task.log_densities(v, {"y": y.astype(int)})[1].sum()))
    np.testing.assert_allclose(total(jnp.asarray(at, jnp.float32)), expected, rtol=1e-4, atol=1e-4)


def test_the_curvature_is_that_of_the_closed_form(effects_task):
    data, vector, _ = simulated(effects_task)

    def exact(v):
        return jnp.sum(
            dist.Normal(v[0] * data["x"], jnp.sqrt(jnp.exp(2 * v[1]) + 0.25)).log_prob(data["y"])
        )

    hessian = jax.jit(jax.hessian(lambda v: effects_task.log_densities(v, data)[1].sum()))(vector)
    np.testing.assert_allclose(hessian, jax.hessian(exact)(vector), rtol=1e-3, atol=1e-3)


def test_jit_vmap_and_masks(effects_task):
    draws = jax.jit(jax.vmap(lambda k: effects_task.simulate(k, ROWS)))(jr.split(jr.key(1), 3))
    batch = Batch(draws.data, jnp.ones((3, ROWS), bool).at[:, 5:].set(False))
    slopes = jax.jit(jax.vmap(jax.grad(effects_task.log_joint)))(draws.latents, batch)
    one = jax.grad(effects_task.log_joint)(draws.latents[2], jax.tree.map(lambda a: a[2], batch))
    np.testing.assert_allclose(slopes[2], one, rtol=1e-4, atol=1e-4)
    few = Batch({n: v[2, :5] for n, v in draws.data.items()}, jnp.ones(5, bool))
    np.testing.assert_allclose(
        jax.grad(effects_task.log_joint)(draws.latents[2], few), one, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("spread", [1e-4, 1e-2, 30.0])
def test_extreme_spreads_leave_values_and_gradients_finite(counts_task, spread):
    y = np.array([0, 1, 3, 100, 10_000, 0, 2, 7])
    vector = jnp.array([1.0, np.log(spread)], jnp.float32)
    value, slope = jax.jit(
        jax.value_and_grad(lambda v: counts_task.log_densities(v, {"y": y})[1].sum())
    )(vector)
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_a_missing_covariate_has_a_closed_form():
    inputs = {"x": dist.Normal(0, 1), "missing": dist.Bernoulli(0.5)}
    task = ap.Task(half_missing, inputs)
    data, vector, theta = simulated(task)
    missing = data["missing"].astype(bool)
    centre = theta["weight"] * np.where(missing, theta["centre"], data["x"])
    spread = np.where(missing, np.hypot(theta["weight"], 0.3), 0.3)
    np.testing.assert_allclose(
        rows_of(task, vector, data),
        stats.norm.logpdf(data["y"], centre, spread),
        rtol=1e-5,
        atol=1e-5,
    )


def test_latents_of_a_row_may_depend_on_each_other():
    task = ap.Task(nested, X)
    data, vector, theta = simulated(task)
    spread = np.sqrt(theta["spread"] ** 2 + 0.5**2 + 0.2**2)
    exact = stats.norm.logpdf(data["y"], data["x"], spread)
    assert task.local.size == 2
    np.testing.assert_allclose(rows_of(task, vector, data), exact, atol=2e-5)


def test_more_than_three_are_taken_axis_by_axis(recwarn):
    """Exact for a Gaussian, whose axes are independent once it is whitened."""
    task = ap.Task(several, X)
    assert task.local.normal and not [w for w in recwarn if "local latents" in str(w.message)]
    data, vector, theta = simulated(task)
    exact = stats.norm.logpdf(data["y"], data["x"], np.sqrt(5 * theta["spread"] ** 2 + 0.2**2))
    np.testing.assert_allclose(rows_of(task, vector, data), exact, atol=1e-4)


def test_more_than_three_that_are_not_gaussian_say_so():
    def model(x, y=None):
        spread = numpyro.sample("spread", dist.LogNormal(-1, 0.3))
        with numpyro.plate("row", x.shape[0]):
            parts = numpyro.sample("parts", dist.Normal(0, spread).expand([4]).to_event(1))
            numpyro.sample("y", dist.Poisson(jnp.exp(x + parts.sum(-1))), obs=y)

    with pytest.warns(UserWarning, match="4 local latents in a row .'parts'"):
        assert not ap.Task(model, X).local.normal


def test_before_the_integral_the_density_is_numpyros():
    """With a local latent of bounded support, and its log Jacobian."""

    def model(x, y=None):
        shape = numpyro.sample("shape", dist.LogNormal(0, 0.5))
        with numpyro.plate("row", x.shape[0]):
            rate = numpyro.sample("rate", dist.Gamma(shape, shape))
            numpyro.sample("y", dist.Poisson(rate * jnp.exp(x)), obs=y)

    task = ap.Task(model, X)
    data, vector, theta = simulated(task)
    local = jr.normal(jr.key(1), (ROWS, 1))
    prior, rows = task.local.joint(vector, data, local)
    sites = {"shape": jnp.float32(theta["shape"]), "rate": jnp.exp(local[:, 0])}
    expected = log_density(model, (data["x"], data["y"]), {}, sites)[0] + vector.sum() + local.sum()
    np.testing.assert_allclose(prior + rows.sum(), expected, rtol=1e-5)


# The engine's other uses of a model.


def test_simulations_have_the_marginal_variance(effects_task):
    """Of y given x = 0: spread^2 + 0.5^2. 20,000 rows: a correct program fails the 5-sd bound once
    in 10^6 seeds.
    """
    vector = jnp.array([0.3, 0.0])
    y = effects_task.predict(jr.key(0), vector, {"x": jnp.zeros(20_000)}, 20_000)["y"]
    assert abs(np.var(y) - 1.25) < 5 * 1.25 * (2 / 20_000) ** 0.5


def test_deterministic_sites_that_local_latents_change_are_left_out():
    def model(x, y=None):
        spread = numpyro.sample("spread", dist.HalfNormal(1))
        numpyro.deterministic("variance", spread**2)
        with numpyro.plate("row", x.shape[0]):
            effect = numpyro.sample("effect", dist.Normal(0, spread))
            numpyro.sample("y", dist.Normal(effect, 0.5), obs=y)
        numpyro.deterministic("largest", effect.max())

    task = ap.Task(model, X)
    assert list(task.deterministic) == ["variance"]


def test_a_fixed_number_of_rows_knows_local_latents_by_their_plate():
    task = ap.Task(effects, X, rows=10)
    assert list(task.local.sites) == ["effect"]
    assert task.latents.names == ["slope", "spread"]


# Models whose local latents cannot be integrated row by row.


def chain(x, y=None):
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("row", x.shape[0]):
        move = numpyro.sample("move", dist.Normal(0, spread))
        numpyro.sample("y", dist.Normal(jnp.cumsum(move), 1), obs=y)


def walk(x, y=None):
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    path = numpyro.sample("path", dist.GaussianRandomWalk(spread, x.shape[0]))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(path, 1), obs=y)


def steps(x, y=None):
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    moves = numpyro.sample("moves", dist.Normal(0, spread).expand([x.shape[0] - 1]))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(jnp.append(0.0, moves), 1), obs=y)


def upward(x, y=None):
    with numpyro.plate("row", x.shape[0]):
        effect = numpyro.sample("effect", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(effect, 1), obs=y)
    numpyro.sample("above", dist.Normal(effect.mean(), 1))


def penalised(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        effect = numpyro.sample("effect", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(slope * x + effect, 1), obs=y)
    numpyro.factor("zero_sum", -(effect.sum() ** 2))


def label(x, y=None):
    share = numpyro.sample("share", dist.Beta(2, 2))
    with numpyro.plate("row", x.shape[0]):
        kind = numpyro.sample("kind", dist.Bernoulli(share))
        numpyro.sample("y", dist.Normal(kind + x, 1), obs=y)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (chain, ["'move'", "looks further back than one step", "rows=None"]),
        (walk, ["'path'", "ties the rows"]),
        (steps, ["'moves'", "ties the rows"]),
        (upward, ["'effect'", "the prior of 'above' depends on it"]),
        (penalised, ["'effect'", "'zero_sum'"]),
        (label, ["'kind'", "discrete", "MixtureSameFamily"]),
    ],
)
def test_rows_that_are_tied_are_refused(model, words):
    with pytest.raises(ModelError) as caught:
        ap.Task(model, X)
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)


# The readout.


@pytest.fixture(scope="module")
def effects_guide(effects_task):
    return untrained(effects_task, ap.method("parametric", **SMALL))


@pytest.fixture(scope="module")
def effects_data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(40)
    return {"x": x, "y": 0.7 * x + np.hypot(0.8, 0.5) * rng.standard_normal(40)}


def exact_effect(data, slope, spread):
    """Mean and sd of p(effect | y, theta)."""
    precision = 1 / spread**2 + 1 / 0.25
    return (data["y"] - slope * data["x"]) / 0.25 / precision, precision**-0.5


def test_local_draws_have_their_exact_distribution(effects_guide, effects_data):
    """Kolmogorov-Smirnov of 40 x 250 standardized draws; a correct program fails one seed in
    10^4.
    """
    theta = {"slope": np.full(250, 0.6), "spread": np.full(250, 0.9)}
    drawn = effects_guide.local(theta, effects_data, seed=1)["posterior"]["effect"]
    assert drawn.dims == ("chain", "draw", "row") and drawn.shape == (1, 250, 40)
    mean, spread = exact_effect(effects_data, 0.6, 0.9)
    assert stats.kstest(((drawn.values - mean) / spread).ravel(), "norm").pvalue > 1e-4


def test_moments_are_those_of_the_mixture_over_draws(effects_guide, effects_data):
    """Closed forms in float64, on which the quadrature of a normal density is exact."""
    theta = {"slope": np.array([-0.5, 0.6, 1.2]), "spread": np.array([0.5, 0.9, 2.0])}
    tree = effects_guide.local_moments(theta, effects_data)
    assert tree["mean"]["effect"].dims == ("row",)
    each = [exact_effect(effects_data, *both) for both in zip(*theta.values(), strict=True)]
    means = np.array([mean for mean, _ in each])
    variance = np.mean([sd**2 for _, sd in each]) + means.var(0)
    np.testing.assert_allclose(tree["mean"]["effect"], means.mean(0), atol=1e-4)
    np.testing.assert_allclose(tree["sd"]["effect"], np.sqrt(variance), rtol=1e-4)
    assert not tree["error"]["effect"].values.any()  # no draw was left out


@pytest.mark.slow
def test_log_joints_by_expansion_and_a_sample_of_rows(effects_task, monkeypatch):
    """Beside all rows at every draw; draws within some 4 sds of the mean."""
    random = np.random.default_rng(1)
    x = random.standard_normal(4096)
    y = 0.7 * x + np.hypot(0.8, 0.5) * random.standard_normal(4096)
    batch = Batch({"x": jnp.asarray(x), "y": jnp.asarray(y)}, jnp.arange(4096) < 4000)
    draws = np.array([0.7, -0.2]) + 0.015 * random.standard_normal((200, 2))
    vectors = jnp.asarray(draws, jnp.float32)
    monkeypatch.setattr(expanded_joint, "DEAR", 1)
    joint = expanded_joint.log_joints(effects_task, vectors, batch)
    exact = jax.jit(jax.vmap(lambda v: effects_task.log_joint(v, batch)))(vectors)
    np.testing.assert_allclose(joint, exact, atol=0.1)
    assert np.ptp(exact) > 3  # the expansion's share is not a constant
    far = vectors.at[0].add(2.0)  # where it is wrong, every row is asked for
    assert expanded_joint.log_joints(effects_task, far, batch) is None


def test_each_local_draw_belongs_to_its_draw_of_the_shared_latents(effects_guide, effects_data):
    theta = {"slope": np.array([[-3.0, 0.0, 3.0]]), "spread": np.full((1, 3), 2.0)}
    drawn = effects_guide.local(theta, effects_data)["posterior"]["effect"].values[0]
    for i, slope in enumerate((-3.0, 0.0, 3.0)):
        mean, spread = exact_effect(effects_data, slope, 2.0)
        assert np.abs((drawn[i] - mean) / spread).max() < 5


@pytest.mark.slow
def test_local_draws_from_what_infer_returned(effects_guide, effects_data):
    post = effects_guide.infer(effects_data, draws=400)
    some = {n: v[5:8] for n, v in effects_data.items()}
    tree = effects_guide.local(post, some, seed=3)
    drawn = tree["posterior"]["effect"]
    assert drawn.shape == (1, 400, 3)
    np.testing.assert_array_equal(tree["observed_data"]["y"], np.float32(some["y"]))
    again = effects_guide.local(post["posterior"], some, seed=3)["posterior"]["effect"]
    np.testing.assert_array_equal(again, drawn)
    slope, spread = (post["posterior"][n].values[0, :, None] for n in ("slope", "spread"))
    mean, sd = exact_effect(some, slope, spread)
    assert stats.kstest(((drawn.values[0] - mean) / sd).ravel(), "norm").pvalue > 1e-4


@pytest.mark.slow
def test_infer_checks_itself_and_predicts_with_fresh_effects(effects_guide, effects_data):
    """Predictive variance at x = 0 is that of effect and noise: E spread^2 + 0.25 + the mean's own
    (0 at x = 0).
    """
    post = effects_guide.infer(effects_data, draws=400)
    assert np.isfinite(post["sample_stats"]["khat"])
    assert set(post["posterior"].data_vars) == {"slope", "spread"}
    slope, spread = (post["posterior"][n].values[0, :, None] for n in ("slope", "spread"))
    exact = stats.norm.logpdf(effects_data["y"], slope * effects_data["x"], np.hypot(spread, 0.5))
    np.testing.assert_allclose(post["log_likelihood"]["y"].values[0], exact, atol=2e-4)
    drawn = effects_guide.predict(effects_data, at={"x": np.zeros(50)}, draws=400)["predictions"][
        "y"
    ].values
    expected = np.mean(spread**2) + 0.25
    assert abs(drawn.var() / expected - 1) < 5 * (2 / 400) ** 0.5


@pytest.mark.slow
def test_the_shared_posterior_is_that_of_the_closed_form(effects_guide, effects_data):
    """Draws weighted by importance against the exact posterior on a grid of 400 x 400, in sds: 0.2
    is 3 sds of the
    error of a mean at an effective sample size of 250."""
    post = effects_guide.infer(effects_data, draws=2000, log_likelihood=False, predictive=False)
    slope, log_spread = np.meshgrid(np.linspace(-2, 3, 400), np.linspace(-4, 2, 400), indexing="ij")
    spread = np.exp(log_spread)
    log_p = stats.norm.logpdf(slope) + stats.halfnorm.logpdf(spread) + log_spread
    for x, y in zip(effects_data["x"], effects_data["y"], strict=True):
        log_p += stats.norm.logpdf(y, slope * x, np.hypot(spread, 0.5))
    p = np.exp(log_p - logsumexp(log_p))
    weights = np.exp(post["sample_stats"]["log_weight"].values[0])
    assert (post["sample_stats"]["importance_sample_size"] > 250).all()
    for name, grid in (("slope", slope), ("spread", spread)):
        mean = np.sum(p * grid)
        sd = np.sum(p * (grid - mean) ** 2) ** 0.5
        drawn = post["posterior"][name].values[0]
        assert abs(np.average(drawn, weights=weights) - mean) < 0.2 * sd


def test_rows_beyond_one_part_are_all_read_out(effects_guide, effects_data, monkeypatch):
    monkeypatch.setattr("amortppl.posterior.local_draws.ROWS", 16)
    theta = {"slope": np.full(3, 0.6), "spread": np.full(3, 1e-3)}
    drawn = effects_guide.local(theta, effects_data)["posterior"]["effect"]
    assert drawn.shape == (1, 3, 40) and np.abs(drawn).max() < 6e-3


@pytest.mark.slow
def test_local_says_what_it_needs(effects_guide, mean_guide, effects_data):
    with pytest.raises(DataError, match="no latent with one value per row"):
        mean_guide.local({"mu": np.zeros(3)}, {"y": np.zeros(5)})
    with pytest.raises(DataError, match=r"lack the latent .spread."):
        effects_guide.local({"slope": np.zeros(3)}, effects_data)
    with pytest.raises(DataError, match="'slope' should have shape"):
        effects_guide.local({"slope": np.zeros((1, 2, 3)), "spread": np.ones(3)}, effects_data)
    many = effects_guide.infer([effects_data, effects_data], draws=5)
    with pytest.raises(DataError, match="several datasets"):
        effects_guide.local(many, effects_data)


def test_numpyro_would_have_to_sample_what_the_guide_integrates_out(effects_guide, effects_data):
    with pytest.raises(DataError, match="one value per row"):
        effects_guide.start_nuts(effects_data)
    with pytest.raises(DataError, match="one value per row"):
        effects_guide(**effects_data)
