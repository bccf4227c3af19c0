"""Learning from datasets without latents: the loss, what is refused, data far from the prior's."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import DataError, TrainingError
from amortppl.task.batch import Batch
from amortppl.training.consistency import Consistency
from conjugate import SMALL, TINY, mean_model, mean_posterior, untrained


def test_the_exact_posterior_has_no_loss_and_another_one_has(mean_task):
    """Laplace is exact here."""
    y = jnp.array([1.0, 2.0, 0.5, 1.2])
    batch = Batch({"y": jnp.tile(y, (20, 1))}, jnp.tile(jnp.arange(4) < 3, (20, 1)))
    loss = eqx.filter_jit(Consistency(batch))
    assert float(loss(untrained(mean_task, ap.method("laplace")).method, jr.key(0))) < 1e-3
    other = ap.method("parametric", signals=("data",), **TINY["parametric"])
    assert float(loss(untrained(mean_task, other).method, jr.key(0))) > 0.1


def test_what_cannot_learn_from_them_says_why(mean_task):
    own, few = {"unlabelled": [{"y": np.zeros(5)}]}, {"steps": 1, "progress": False}
    with pytest.raises(TrainingError, match="unlabelled: NeuralBayesGuide does not learn"):
        ap.train(mean_task, "neural_bayes", **own, **few)
    with pytest.raises(TrainingError, match="unlabelled: expected a list of datasets"):
        ap.train(mean_task, unlabelled={"y": np.zeros(5)}, **few)
    with pytest.raises(DataError, match="'z'"):
        ap.train(mean_task, unlabelled=[{"z": np.zeros(5)}], **few)
    prior, steps = {"a": dist.Normal(0, 1)}, lambda a, key: a + jr.normal(key, (3,))
    simulator = ap.Task.from_simulator(prior, steps)
    with pytest.raises(TrainingError, match="has no density of the data"):
        ap.train(simulator, unlabelled=[{"x": np.zeros(3)}], **few)


def test_datasets_without_a_finite_density_are_told_of(mean_task):
    """Squares of 1e30 overflow 32 bits, whatever the latents."""
    right, wrong = {"y": np.zeros(5)}, {"y": np.full(5, 1e30)}
    options = {"steps": 1, "batch": 8, "progress": False}
    method = ap.method("parametric", **TINY["parametric"])
    with pytest.raises(TrainingError, match="unlabelled: expected datasets that the model has"):
        ap.train(mean_task, method, unlabelled=[wrong, wrong], **options)
    with pytest.warns(UserWarning, match="nothing was learned from 1 of 3 .* number 1 "):
        ap.train(mean_task, method, unlabelled=[right, wrong, right], **options)


@pytest.mark.slow
def test_data_far_from_the_prior(mean_task):
    """Means 4.5 to 7.5 prior sds out, seeded. Without unlabelled datasets posterior means were 5 to
    18 sds off, with them 0.4 at most.
    """
    rng = np.random.default_rng(3)
    task = ap.Task(mean_model, rows=(4, 12), likelihood=False)
    unlabelled = [{"y": rng.normal(m, 1, 8)} for m in np.linspace(-16, 16, 12)]
    options = {"steps": 800, "progress": False, "unlabelled": unlabelled}
    guide = ap.train(task, ap.method("parametric", **(SMALL | {"sweeps": 2})), **options)
    for y in [rng.normal(m, 1, 8) for m in (0.7, 9.0, 15.0, -10.0)]:
        draws = guide.infer({"y": y}, draws=2000, predictive=False)["posterior"]["mu"].values
        mean, sd = mean_posterior(y)
        assert abs(draws.mean() - mean) < 0.7 * sd
        assert abs(np.log(draws.std() / sd)) < 0.35
