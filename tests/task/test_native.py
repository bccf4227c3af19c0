"""A Pyro model's own log density beside that of its translation."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `pyro` is not installed")

import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as numpyro_dist
import pyro.distributions as dist
from pyro.infer import config_enumerate

import amortppl as ap
import pyro
from amortppl.data.dataset import read
from amortppl.errors import ModelError, UnreliableWarning
from amortppl.posterior.draws import Drawn
from amortppl.pyro import sites
from amortppl.task.batch import Batch
from amortppl.trust.parity_notes import judge_parity


def line(x, y=None):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    with pyro.plate("row", x.shape[0]):
        return pyro.sample("y", dist.Normal(slope * x, noise), obs=y)


@config_enumerate
def labels(n, y=None):
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    rates = pyro.sample("rates", dist.Gamma(2.0, 1.0).expand([2]).to_event(1))
    with pyro.plate("row", n):
        z = pyro.sample("z", dist.Bernoulli(share))
        return pyro.sample("y", dist.Poisson(rates[z.long()]), obs=y)


def task_of_line():
    return ap.Task(line, {"x": dist.Normal(0.0, 1.0)})


@pytest.mark.parametrize("make", [task_of_line, lambda: ap.Task(labels)])
def test_it_is_compared_and_agrees(make):
    """Nothing differs at a task of the model, and Pyro could run it."""
    task = make()
    drawn = task.simulate(jr.key(1), 40)
    data = {n: np.asarray(v) for n, v in drawn.data.items()}
    assert task.native and not task.native.differences(np.asarray(drawn.latents), data)
    assert not task.native.failure


def spoil(monkeypatch):
    """A translation that makes every HalfNormal twice as wide."""
    right = sites.to_numpyro

    def wrong(fn):
        given = right(fn)
        wide = isinstance(given, numpyro_dist.HalfNormal)
        return numpyro_dist.HalfNormal(2 * given.scale) if wide else given

    monkeypatch.setattr(sites, "to_numpyro", wrong)


def test_a_wrong_translation_is_refused(monkeypatch):
    spoil(monkeypatch)
    with pytest.raises(ModelError, match="Pyro's own log density of the site 'noise'"):
        task_of_line()


def test_a_wrong_translation_is_seen_at_infer(monkeypatch):
    """The engine and NumPyro agree with one another, both are translated: Pyro alone says no."""
    task, rng = task_of_line(), np.random.default_rng(0)
    spoil(monkeypatch)
    data = read(task, {"x": rng.normal(size=20), "y": rng.normal(size=20)})
    vectors = rng.normal(size=(1, 5, 2)).astype(np.float32)
    batch = Batch({n: jnp.asarray(v) for n, v in data.arrays.items()}, jnp.ones(20, bool))
    joint = np.array([[float(task.log_joint(jnp.asarray(v), batch)) for v in vectors[0]]])
    with pytest.warns(UnreliableWarning, match="Pyro's own"):
        stats, _ = judge_parity(task, [data], Drawn(vectors, joint, joint, joint))
    assert not stats["log_joint_agrees"][0] and stats["log_joint_checked"][0]
