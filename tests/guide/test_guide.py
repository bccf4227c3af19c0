"""Posteriors against exact ones; the tree's schema; the guide inside NumPyro."""

import json

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pandas as pd
import pytest
from numpyro.infer import MCMC, SVI, Predictive, Trace_ELBO

from amortppl.errors import DataError, OutOfRangeWarning
from amortppl.task.batch import Batch
from conjugate import line_model, line_posterior, mean_posterior

DRAWS = 400


@pytest.fixture(scope="module")
def post(line_guide, line_data):
    return line_guide.infer(line_data, draws=DRAWS)


# Against exact posteriors.


def test_conjugate_mean(mean_guide):
    """20 datasets of 4 to 32 rows, 2000 draws each. The error of each mean in posterior sds has a
    Monte-Carlo sd of 0.022; 0.15 leaves the guide, trained for seconds, 0.05: a correct program
    fails for fewer than one seed in 1000."""
    rng = np.random.default_rng(1)
    data = [{"y": rng.normal(rng.normal(0, 2), 1, n)} for n in rng.integers(4, 33, 20)]
    posts = mean_guide.infer(data, draws=2000)
    exact = np.array([mean_posterior(d["y"]) for d in data])
    mu = posts.posterior["mu"].values[:, 0]
    assert np.all(np.abs(mu.mean(-1) - exact[:, 0]) / exact[:, 1] < 0.15)
    assert np.all(np.abs(np.log(mu.std(-1) / exact[:, 1])) < 0.15)
    assert np.all(posts.sample_stats["khat"] < 0.7)


def test_conjugate_line(line_guide, line_data):
    """As above for two correlated weights, 4000 draws: Monte-Carlo sd 0.016 of each mean."""
    w = line_guide.infer(line_data, draws=4000).posterior["w"].values[0]
    mean, covariance = line_posterior(**line_data)
    sd = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(w.mean(0) - mean) / sd < 0.15)
    assert np.all(np.abs(np.cov(w.T) / np.outer(sd, sd) - covariance / np.outer(sd, sd)) < 0.25)


def test_log_prob_is_the_exact_density_nearly(mean_guide):
    y = np.random.default_rng(2).normal(1, 1, 16)
    mean, sd = mean_posterior(y)
    at = mean + sd * np.linspace(-1.5, 1.5, 7)
    exact = -0.5 * ((at - mean) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(mean_guide.log_prob({"y": y}, {"mu": at}), exact, atol=0.3)


def test_log_prob_of_draws_is_log_guide(line_guide, line_data, post):
    """Identity supports: no Jacobian between them."""
    log_densities = line_guide.log_prob(line_data, {"w": post.posterior["w"].values[0]})
    np.testing.assert_allclose(log_densities, post.sample_stats["log_guide"].values[0], atol=1e-3)


# The tree.


def test_schema(post):
    assert set(post.children) == {
        "posterior",
        "sample_stats",
        "log_likelihood",
        "posterior_predictive",
        "observed_data",
        "constant_data",
    }
    assert dict(post.posterior.sizes) == {"chain": 1, "draw": DRAWS, "covariate": 2}
    assert list(post.posterior["covariate"].values) == ["age", "dose"]
    assert set(post.posterior) == {"w", "w_sum"}
    np.testing.assert_allclose(
        post.posterior["w"].sum("covariate"), post.posterior["w_sum"], atol=1e-5
    )
    assert (
        post.log_likelihood["y"].dims
        == post.posterior_predictive["y"].dims
        == ("chain", "draw", "obs")
    )
    assert post.observed_data["y"].dims == ("obs",) and post.constant_data["x"].dims == (
        "obs",
        "covariate",
    )
    assert (
        int(post.sample_stats["rows"]) == 20
        and str(post.sample_stats["source"].values) == "amortized"
    )


def test_attributes(post):
    about = post.attrs
    assert about["inference_library"] == "amortppl" and about["model"] == "line_model"
    assert "def line_model" in about["model_source"]
    assert json.loads(about["warnings"]) == [] and about["seed"] == 0
    assert json.loads(about["training"])["steps"] == 50


def test_log_likelihood_is_the_models(post, line_data):
    w = post.posterior["w"].values[0]
    expected = -0.5 * (line_data["y"] - w @ line_data["x"].T) ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(post.log_likelihood["y"].values[0], expected, atol=1e-3)


def test_log_joint_is_prior_plus_likelihood(post):
    prior = (-0.5 * post.posterior["w"] ** 2 - 0.5 * np.log(2 * np.pi)).sum("covariate")
    joint = prior + post.log_likelihood["y"].sum("obs")
    np.testing.assert_allclose(
        post.sample_stats["log_joint"].values, joint.values, rtol=1e-4, atol=1e-3
    )


def test_arviz_reads_it(post, tmp_path):
    import arviz as az
    import xarray

    assert set(az.summary(post, var_names=["w"]).index) == {"w[age]", "w[dose]"}
    assert np.isfinite(az.loo(post).elpd)
    az.plot_forest(post)
    post.to_netcdf(tmp_path / "post.nc", engine="h5netcdf")
    again = xarray.open_datatree(tmp_path / "post.nc", engine="h5netcdf")
    np.testing.assert_array_equal(again.posterior["w"], post.posterior["w"])
    assert again.attrs["model_source"] == post.attrs["model_source"]


def test_groups_can_be_left_out(line_guide, line_data):
    post = line_guide.infer(line_data, draws=DRAWS, log_likelihood=False, predictive=False)
    assert "log_likelihood" not in post.children and "posterior_predictive" not in post.children
    assert any("left out" in w for w in json.loads(post.attrs["warnings"]))


def test_same_seed_same_draws(line_guide, line_data, post):
    np.testing.assert_array_equal(
        line_guide.infer(line_data, draws=DRAWS).posterior["w"], post.posterior["w"]
    )
    assert not np.allclose(
        line_guide.infer(line_data, draws=DRAWS, seed=1).posterior["w"], post.posterior["w"]
    )


def test_order_of_rows_does_not_matter(line_guide, line_data, post):
    turned = line_guide.infer({n: v[::-1] for n, v in line_data.items()}, draws=DRAWS)
    np.testing.assert_allclose(turned.posterior["w"], post.posterior["w"], atol=2e-3)


# Many datasets.


def test_many_datasets_are_each_as_alone(mean_guide):
    """Draws need not be the same (each has its own key): the posterior, known by its log density,
    is.
    """
    rng = np.random.default_rng(3)
    data = [{"y": rng.normal(0, 1, n)} for n in (5, 20, 7, 20)]
    posts = mean_guide.infer(data, draws=DRAWS)
    assert dict(posts.posterior.sizes) == {"task": 4, "chain": 1, "draw": DRAWS}
    assert posts.sample_stats["khat"].dims == ("task",)
    np.testing.assert_array_equal(posts.sample_stats["rows"], [5, 20, 7, 20])
    assert (
        posts.observed_data["y"].shape == (4, 20)
        and int(np.isnan(posts.observed_data["y"]).sum()) == 28
    )
    for i, each in enumerate(data):
        alone = mean_guide.log_prob(each, {"mu": posts.posterior["mu"].values[i, 0]})
        np.testing.assert_allclose(alone, posts.sample_stats["log_guide"].values[i, 0], atol=1e-3)


def test_summary_of_many(mean_guide):
    import arviz as az

    posts = mean_guide.infer([{"y": np.zeros(8)}, {"y": np.ones(8)}], draws=DRAWS)
    assert len(az.summary(posts)) == 2


def test_frames_are_read(line_guide, line_data, post):
    frame = pd.DataFrame(
        {"age": line_data["x"][:, 0], "dose": line_data["x"][:, 1], "y": line_data["y"]}
    )
    of_frame = line_guide.infer(frame, draws=DRAWS, columns={"x": ["age", "dose"]})
    np.testing.assert_allclose(of_frame.posterior["w"], post.posterior["w"], atol=1e-5)


# Out of range, and wrong.


def test_more_rows_than_trained_for_are_answered_with_a_warning(mean_guide):
    y = np.random.default_rng(4).normal(0, 1, 64)
    with pytest.warns(OutOfRangeWarning, match="64 rows: the guide was trained for 4 to 32"):
        post = mean_guide.infer({"y": y}, draws=DRAWS)
    assert "64 rows" in json.loads(post.attrs["warnings"])[0]
    mean, sd = mean_posterior(y)
    assert abs(float(post.posterior["mu"].mean()) - mean) < 0.5 * sd


def test_values_never_seen_are_answered_with_a_warning(line_guide, line_data):
    far = dict(line_data, x=line_data["x"] * np.array([1.0, 40.0]))
    with pytest.warns(OutOfRangeWarning, match=r"x\[1\] spans"):
        post = line_guide.infer(far, draws=DRAWS)
    assert any("x[1]" in w for w in json.loads(post.attrs["warnings"]))


def test_of_many_datasets_out_of_range_one_warning_tells(line_guide, line_data):
    far = dict(line_data, x=line_data["x"] * np.array([1.0, 40.0]))
    with pytest.warns(OutOfRangeWarning) as warned:
        post = line_guide.infer([line_data, far, line_data, far], draws=DRAWS)
    (one,) = [str(w.message) for w in warned if issubclass(w.category, OutOfRangeWarning)]
    assert one.startswith("2 of 4 datasets") and "dataset 1: x[1] spans" in one
    assert sum("x[1] spans" in w for w in json.loads(post.attrs["warnings"])) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g, d: g.infer([]), "empty list"),
        (lambda g, d: g.infer(d, draws=0), "at least 1"),
        (lambda g, d: g.infer({"x": d["x"]}), "'y'"),
        (lambda g, d: g.infer("data.csv"), "got str"),
        (lambda g, d: g.predict(d, at={"X": d["x"]}), "did you mean 'x'"),
    ],
)
def test_wrong_calls(line_guide, line_data, call, words):
    with pytest.raises(DataError, match=words):
        call(line_guide, line_data)


# Prediction.


def test_predictions(line_guide, line_data):
    """Mean of 4000 draws: predictive sd is about 1.1, so 0.09 is 5 Monte-Carlo sds; 0.1 for the
    guide.
    """
    at = {"x": np.array([[1.0, 0.0], [0.0, 1.0], [3.0, -2.0]])}
    predicted = line_guide.predict(line_data, at, draws=4000)
    assert predicted.predictions["y"].shape == (1, 4000, 3)
    np.testing.assert_array_equal(
        predicted.predictions_constant_data["x"], at["x"].astype(np.float32)
    )
    mean, covariance = line_posterior(**line_data)
    np.testing.assert_allclose(
        predicted.predictions["y"].mean(("chain", "draw")), at["x"] @ mean, atol=0.2
    )
    spread = np.sqrt(1 + np.einsum("ij,jk,ik->i", at["x"], covariance, at["x"]))
    np.testing.assert_allclose(predicted.predictions["y"].std(("chain", "draw")), spread, rtol=0.1)


def test_log_predictive(line_guide, line_data):
    at = {"x": np.array([[1.0, 0.0], [0.0, 1.0]]), "y": np.array([0.0, 0.5])}
    mean, covariance = line_posterior(**line_data)
    variance = 1 + np.einsum("ij,jk,ik->i", at["x"], covariance, at["x"])
    exact = -0.5 * (at["y"] - at["x"] @ mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    np.testing.assert_allclose(
        line_guide.log_predictive(line_data, at, draws=2000), exact, atol=0.05
    )


# The contract, and other guide code.


def test_by_hand(line_guide, line_data):
    state = line_guide.step(line_guide.init(), line_data)
    vectors, log_prob = line_guide.posterior(state).sample(jr.key(0), 50)
    np.testing.assert_allclose(line_guide.log_prob(line_data, {"w": vectors}), log_prob, atol=1e-3)


def test_two_steps_add_up(line_guide, line_data):
    """A conjugate model's evidence adds over mini-batches exactly."""
    half = [{n: v[i::2] for n, v in line_data.items()} for i in range(2)]
    state = line_guide.init()
    for batch in half:
        state = line_guide.step(state, batch)
    whole = line_guide.step(line_guide.init(), line_data)
    np.testing.assert_allclose(state.value.frame.location, whole.value.frame.location, atol=1e-2)
    np.testing.assert_allclose(
        state.value.frame.factor, whole.value.frame.factor, rtol=1e-2, atol=1e-2
    )
    assert state.rows == 20 and float(state.value.rows) == 20


@pytest.mark.slow
def test_svi_fine_tunes_it(line_guide, line_data):
    x, y = (jnp.asarray(line_data[n], jnp.float32) for n in "xy")
    svi = SVI(line_model, line_guide, optax.adam(1e-4), Trace_ELBO(8))
    result = svi.run(jr.key(0), 20, x, y, progress_bar=False)
    covariance = np.eye(20) + line_data["x"] @ line_data["x"].T
    evidence = -0.5 * (
        line_data["y"] @ np.linalg.solve(covariance, line_data["y"])
        + np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    assert np.all(np.isfinite(np.asarray(result.losses)))
    assert abs(float(jnp.mean(result.losses)) + evidence) < 0.3, (
        "the ELBO of a nearly exact guide is the evidence"
    )


def test_predictive_runs_it(line_guide, line_data):
    x, y = (jnp.asarray(line_data[n], jnp.float32) for n in "xy")
    drawn = Predictive(line_model, guide=line_guide, params={}, num_samples=300)(jr.key(0), x, y)
    mean, covariance = line_posterior(**line_data)
    assert np.all(np.abs(drawn["w_sum"].mean() - mean.sum()) < 0.4 * np.sqrt(covariance.sum()))


def test_the_guide_needs_the_data(line_guide, line_data):
    with pytest.raises(DataError, match="'y' is needed"):
        line_guide(jnp.asarray(line_data["x"]))


@pytest.mark.slow
def test_nuts_starts_from_it(line_guide, line_data):
    """Two chains of 400 draws after 50 warm-up steps; ESS is at least 200, so 0.35 sd is 5 of its
    errors.
    """
    kernel, init = line_guide.start_nuts(line_data, chains=2)
    assert init["w"].shape == (2, 2)
    mcmc = MCMC(
        kernel,
        num_warmup=50,
        num_samples=400,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jr.key(0), *(jnp.asarray(line_data[n], jnp.float32) for n in "xy"), init_params=init)
    mean, covariance = line_posterior(**line_data)
    sd = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(mcmc.get_samples()["w"].mean(0) - mean) < 0.35 * sd)
    kept = mcmc.last_state.adapt_state.inverse_mass_matrix[("w",)]
    drawn = line_guide.infer(line_data, draws=1000).posterior["w"].values[0]
    np.testing.assert_allclose(
        kept, np.broadcast_to(np.cov(drawn.T), (2, 2, 2)), rtol=1e-3
    )  # warm-up leaves it


def test_infer_is_compiled_once_a_shape(mean_guide, compilations):
    """And its dear part, the states, once for any number of draws."""
    mean_guide.infer({"y": np.zeros(17)}, draws=DRAWS)
    compilations.clear()
    mean_guide.infer({"y": np.ones(31)}, draws=DRAWS, seed=5)
    assert compilations == []
    mean_guide.infer({"y": np.ones(31)}, draws=DRAWS // 2)
    of_draws = ("sample", "_constrain", "_pointwise", "_predict")  # begun ahead, from shapes
    assert [compilations.count(f"jit({n})") for n in of_draws] == [1] * 4
    assert "jit(states)" not in compilations


@pytest.mark.parametrize("at_once", [0, 1, 5, 6, 7, 100])
def test_mapping_in_turn_is_mapping_together(at_once):
    """12 is a multiple of some; an output may be empty."""
    from amortppl.runtime.batched_map import batched_map

    values, empty = batched_map(
        lambda a: (a[0] * a[1], a[0][:0]), (jnp.ones((12, 3)), jnp.arange(12.0)), at_once
    )
    np.testing.assert_array_equal(values, np.repeat(np.arange(12.0)[:, None], 3, 1))
    assert empty.shape == (12, 0)


def test_batches_are_padded_with_a_valid_row(mean_guide):
    from amortppl.data.dataset import read
    from amortppl.posterior.padding import pad

    batch = pad(mean_guide.task, read(mean_guide.task, {"y": np.arange(5.0)}))
    assert isinstance(batch, Batch) and batch.mask.tolist() == [True] * 5 + [False] * 3
    assert batch.data["y"].tolist() == [0, 1, 2, 3, 4, 0, 0, 0]
