"""A classifier between models against their exact posterior probabilities; what is refused."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import amortppl as ap
from amortppl.choice.calibration import calibration_error, calibration_p, calibration_table
from amortppl.choice.choice_task import choice_task
from amortppl.errors import ModelError

PRIOR = {"scale": dist.HalfNormal(1)}


def normal(rows, key):
    return jr.normal(key, (rows,))


def student(rows, key):
    return jr.t(key, 3.0, (rows,))


def tasks(rows=20):
    """Neither uses its latent, so that the probabilities of the data are known."""
    made = [lambda scale, rows, key, f=f: f(rows, key) for f in (normal, student)]
    return [
        ap.Task.from_simulator(PRIOR, s, rows=rows, name=n)
        for s, n in zip(made, ("normal", "student"), strict=True)
    ]


def test_calibrated_probabilities_pass_and_others_do_not():
    """Over 2,000 sets of 300 calibrated probabilities p < 0.05 in at most 5% (sd 0.5%)."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.7, 0.7, (2000, 300))
    happened = rng.random(p.shape) < p
    small = [calibration_p(q, h) < 0.05 for q, h in zip(p, happened, strict=True)]
    assert 0.02 < np.mean(small) < 0.065
    sure = p**3 / (p**3 + (1 - p) ** 3)
    assert np.mean([calibration_p(q, h) < 0.05 for q, h in zip(sure, happened, strict=True)]) > 0.9
    assert calibration_error(p.ravel(), happened.ravel()) < 0.005
    assert calibration_error(sure.ravel(), happened.ravel()) > 0.05


def test_a_table_of_calibration():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    table = calibration_table(p, np.array([0, 0, 1, 1]), ["a", "b"])
    assert table.loc["a", "share"] == 0.5 and table.loc["a", "probability"] == pytest.approx(0.6)
    assert table["recognised"].tolist() == [1.0, 0.5]
    assert table.attrs["confusion"][1] == pytest.approx([0.45, 0.55])
    assert table.attrs["log_score"] == pytest.approx(np.log([0.9, 0.6, 0.8, 0.3]).mean())


def test_datasets_come_from_their_models():
    task = choice_task(tasks(), [0.25, 0.75], learn=True)
    draws = [task.simulate(k, 20) for k in jr.split(jr.key(0), 2)]
    assert draws[0].data["x"].shape == (20,) and task.arguments == ["x"]
    many = task.simulate_many(jr.split(jr.key(1), 2000), 20, 500)
    assert abs(float(jnp.mean(many.latents)) - 0.75) < 0.04  # 4 sds
    far = np.abs(np.asarray(many.data["x"])) > 4
    label = np.asarray(many.latents)[:, 0] == 1
    assert far[label].mean() > 0.02 and far[~label].mean() < 0.001  # 2.8% and 0.006%


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: [tasks()[0]], "at least two tasks"),
        (lambda: [tasks()[0], tasks(30)[1]], "models of the same data"),
        (lambda: [tasks()[0], tasks()[0]], "names that differ"),
    ],
)
def test_what_cannot_be_compared(given, words):
    with pytest.raises(ModelError, match=words):
        ap.compare_models(given(), steps=1, progress=False)
    with pytest.raises(ModelError, match="expected 2 positive numbers"):
        ap.compare_models(tasks(), prior=[1.0, -1.0], steps=1, progress=False)
    with pytest.raises(ModelError, match="expected 2 positive numbers"):
        ap.compare_models(tasks(), prior=["high", "low"], steps=1, progress=False)


@pytest.mark.slow
def test_probabilities_are_those_of_the_densities(as_many_as_users_have):
    """p(student | y) = 1 / (1 + p(y | normal) / p(y | student)); seeded."""
    choice = ap.compare_models(tasks(), steps=1000, batch=64, progress=False)
    rng = np.random.default_rng(1)
    data = [rng.normal(size=20) for _ in range(100)] + [rng.standard_t(3, 20) for _ in range(100)]
    exact = [
        1 / (1 + np.exp(stats.norm.logpdf(y).sum() - stats.t.logpdf(y, 3).sum())) for y in data
    ]
    with pytest.warns(ap.OutOfRangeWarning, match="none of them may be right"):
        table = choice.probabilities([{"x": y} for y in data] + [{"x": rng.normal(30, 1, 20)}])
    apart = np.abs(table["student"].to_numpy()[:200] - exact)
    assert apart.mean() < 0.05 and np.quantile(apart, 0.95) < 0.15
    assert table["distance_p"].iloc[-1] < 0.0125 < np.median(table["distance_p"][:200])
    checked = choice.diagnose(1000)
    assert (checked["calibration_p"] > 0.001).all() and (checked["recognised"] > 0.7).all()
