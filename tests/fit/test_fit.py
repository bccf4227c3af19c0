"""Posteriors with nothing trained, against conjugate ones."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap
from amortppl.errors import DataError
from conjugate import line_model, line_posterior, mean_model, mean_posterior

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(50, 2))
Y = X @ [0.5, -1.0] + RANDOM.normal(size=50)


@pytest.fixture(scope="module")
def line():
    """The posterior of a line, and the guide."""
    return ap.fit(line_model, {"x": X, "y": Y}, keep_amortizing=True)


def test_the_posterior_is_the_conjugate_one(line):
    """1000 independent draws: the mean is off by more than 0.16 sd once in 10^6 programs, a sd by
    more than 12%.
    """
    post, _ = line
    mean, covariance = line_posterior(X, Y)
    draws = np.asarray(post["posterior"]["w"])[0]
    sds = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((draws.mean(0) - mean) / sds, 0.0, atol=0.16)
    np.testing.assert_allclose(draws.std(0) / sds, 1.0, atol=0.12)
    stats = post["sample_stats"]
    assert stats["source"].item() == "frame" and bool(stats["reliable"])
    assert float(stats["khat"]) < 0.3 and float(stats["importance_sample_size"]) > 980
    assert {"observed_data", "constant_data", "log_likelihood", "posterior_predictive"} <= set(
        post.children
    )


def test_the_guide_answers_other_data(line):
    _, guide = line
    assert isinstance(guide, ap.Guide) and guide.task.rows[1] == 50
    other = guide.log_prob({"x": X[:20], "y": Y[:20]}, {"w": jnp.zeros(2)})
    mean, covariance = line_posterior(X[:20], Y[:20])
    exact = dist.MultivariateNormal(mean, covariance).log_prob(jnp.zeros(2))
    np.testing.assert_allclose(other, exact, atol=2e-2)
    with pytest.raises(ap.GuideError, match="all rows"):
        guide.step(guide.step(guide.init(), {"x": X, "y": Y}), {"x": X, "y": Y})


def test_several_datasets_and_frames_of_data():
    data = [{"y": np.array([0.3, 1.1, 0.4])}, pd.DataFrame({"y": [2.0, 1.0]})]
    post = ap.fit(mean_model, data, draws=400)
    for task, each in enumerate(data):
        mean, sd = mean_posterior(np.asarray(each["y"]))
        draws = np.asarray(post["posterior"]["mu"][task])
        assert abs(draws.mean() - mean) < 0.25 * sd  # 5 Monte-Carlo errors


def blocks(scale, y=None):
    """Eight effects about their mean; the data are one block."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    with numpyro.plate("J", 8):
        numpyro.sample("y", dist.Normal(mu, scale), obs=y)


def test_data_of_fixed_size():
    scale = np.full(8, 2.0)
    y = np.arange(8.0)
    post = ap.fit(blocks, {"scale": scale, "y": y}, draws=400)
    precision = 1 / 25 + 8 / 4
    assert abs(float(post["posterior"]["mu"].mean()) - y.sum() / 4 / precision) < 5 / np.sqrt(
        400 * precision
    )


@pytest.mark.parametrize(
    ("data", "saying"),
    [
        ({"x": X}, "no observation among 'x'"),
        ({"x": X, "z": Y}, "'z' is not an argument"),
        ({"x": X, "y": Y[:3]}, "same number of rows"),
        ({"x": X, "y": np.full(50, np.nan)}, "'y'"),
        ([], "at least one dataset"),
        ("file.csv", "expected a dict"),
        ({"x": X[:0], "y": Y[:0]}, "no rows"),
    ],
)
def test_bad_data_are_named(data, saying):
    with pytest.raises((ap.DataError, ap.ModelError), match=saying):
        ap.fit(line_model, data)


def test_a_model_that_is_none():
    with pytest.raises(ap.ModelError, match="expected a model function or a formula"):
        ap.fit(3, {"y": Y})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["z", "y"], r"data: no 'x', which the model asks for; the data have 'z', 'y'\. Taken for"),
        (["y"], r"data: no 'x', 'z', which the model asks for; the data have 'y'\.$"),
    ],
)
def test_an_argument_that_the_data_lack_is_named(given, says):
    def line(x, z, y=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x + z, 1), obs=y)

    with pytest.raises(DataError, match=says):
        ap.fit(line, {name: np.zeros(5) for name in given})
