"""Posteriors known up to a constant: their draws and densities, and what learns such ones."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from amortppl.inference.neural_likelihood import NeuralLikelihood
from jax.scipy.special import logsumexp

import amortppl as ap
from amortppl.densities.unnormalized import Unnormalized, _flatten, _systematic
from amortppl.diagnostics.latent_scores import score_latents
from amortppl.errors import ModelError
from conjugate import mean_model, mean_posterior


def test_weights_are_flattened_as_far_as_needed():
    sharp = _flatten(-1e4 * jnp.linspace(0, 1, 1000) ** 2)
    assert float(jnp.exp(-logsumexp(2 * sharp))) == pytest.approx(50, rel=0.02)
    even = _flatten(jnp.zeros(1000))
    np.testing.assert_allclose(even, -np.log(1000), rtol=1e-5)


def test_resampling_takes_each_point_by_its_weight():
    places = _systematic(jr.key(0), jnp.log(jnp.array([0.25, 0.0, 0.5, 0.25])), 100)
    assert np.bincount(np.asarray(places), minlength=4).tolist() == [25, 0, 50, 25]


def test_contrasts_and_rows_that_depend_are_refused():
    with pytest.raises(LookupError, match="contrasts"):
        ap.method("neural_ratio", contrasts=0)
    prior = {"a": dist.Normal(0, 1)}
    steps = lambda a, rows, key: a + jr.normal(key, (rows,))  # noqa: E731
    task = ap.Task.from_simulator(prior, steps, rows=(4, 8), ordered=True)
    with pytest.raises(ModelError, match="depend on one another"):
        NeuralLikelihood().build(task, jr.key(0))
    with pytest.raises(ModelError, match="train_rounds"):
        ap.train_rounds(ap.Task(mean_model, rows=(4, 8)), {"y": np.zeros(5)})


@pytest.mark.slow
def test_two_modes_keep_their_shares():
    """Of 2000 draws in 64 chains; a third lies at -2, systematic resampling is off by less than
    1 / 64, and 5 sds of the rest are 0.05.
    """
    centre, weight = jnp.array([-2.0, 2.0]), jnp.log(jnp.array([1 / 3, 2 / 3]))

    def height(v):
        each = -0.5 * jnp.sum((v[None] - centre[:, None]) ** 2, 1) / 0.2**2
        return logsumexp(each + weight)

    made = Unnormalized(height, 2)
    draws, log_prob = jax.jit(lambda key: made.sample(key, 2000))(jr.key(1))
    low = np.asarray(draws)[:, 0] < 0
    assert low.mean() == pytest.approx(1 / 3, abs=0.06)
    assert np.asarray(draws)[~low].std(0) == pytest.approx([0.2, 0.2], rel=0.15)
    exact = logsumexp(
        weight[:, None]
        - 0.5 * ((draws[None] - centre[:, None, None]) ** 2).sum(-1) / 0.2**2
        - np.log(2 * np.pi * 0.2**2),
        axis=0,
    )
    np.testing.assert_allclose(log_prob, exact, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "options"),
    [
        ("neural_likelihood", 300, {"knots": 4}),
        ("neural_ratio", 1000, {"contrasts": 8, "width": 8, "hidden": 32}),
    ],
)
def test_the_posterior_of_a_normal_mean(name, steps, options):
    """Seeded; of two datasets, errors in posterior sds. Scores of datasets come one by one, by
    points that are worth more than enough: errors are about a sixth of the prior's sd.
    """
    task = ap.Task(mean_model, rows=(4, 12), likelihood=False)
    method = ap.method(name, points=2048, chains=16, warmup=20, **options)
    guide = ap.train(task, method, steps=steps, batch=64, progress=False)
    rng = np.random.default_rng(1)
    for data in ({"y": rng.normal(rng.normal(0, 2), 1, 8)} for _ in range(2)):
        draws = guide.infer(data, draws=1000, predictive=False)["posterior"]["mu"].values
        mean, sd = mean_posterior(data["y"])
        assert abs(draws.mean() - mean) / sd < 0.35
        assert abs(np.log(draws.std() / sd)) < 0.35
    if name == "neural_ratio":  # the code is the same, and the other takes longer to compile
        scores = score_latents(guide, 20, 100, 0, lambda done: done < 5)
        assert scores["datasets"] == 5 and scores["rmse"] < 0.6


@pytest.mark.slow
def test_rounds_come_to_the_posterior():
    """A posterior of a thirtieth of the prior's width; later prior draws are nearer to it."""

    def simulate(mean, key):
        return mean + 0.05 * jr.normal(key, (2,))

    task = ap.Task.from_simulator({"mean": dist.Normal(0, 1)}, simulate)
    assert float(task.log_prior(jnp.zeros(1))) == pytest.approx(-0.919, abs=1e-3)
    data = {"x": np.array([1.1, 1.0])}
    few = {"rounds": 2, "simulations": 1000, "steps": 800, "progress": False}
    guide = ap.train_rounds(task, data, **few)
    later = guide.task.stored.latents["mean"][1000:]
    assert later.std() < 0.8
    draws = guide.infer(data)["posterior"]["mean"].values
    assert draws.mean() == pytest.approx(1.05, abs=0.1)
    assert 0.02 < draws.std() < 0.2  # exact: 0.035
