"""Log joints with latents summed and integrated out, compared at `infer`."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import UnreliableWarning
from amortppl.report.summary import verdict_of
from amortppl.task import factor_tables
from amortppl.task.local_latents import Local

ONLY = {"predictive": False, "log_likelihood": False}


def counts(x, y=None):
    rate = numpyro.sample("rate", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        effect = numpyro.sample("effect", dist.Normal(0, 1))
        numpyro.sample("y", dist.Poisson(jnp.exp(rate + x + effect)), obs=y)


def labels(n, y=None):
    far = numpyro.sample("far", dist.Normal(3, 1))
    with numpyro.plate("row", n):
        label = numpyro.sample("label", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(far * label, 1.0), obs=y)


def counts_of(rows):
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return {"x": x, "y": rng.poisson(np.exp(0.3 + x + rng.normal(size=rows)))}


def labels_of(rows):
    rng = np.random.default_rng(1)
    return {"y": 2.5 * rng.binomial(1, 0.3, rows) + rng.normal(size=rows)}


@pytest.fixture(scope="module")
def effects():
    return ap.train(ap.Task(counts, {"x": dist.Normal(0, 1)}, (2, 48)), "laplace", progress=False)


def test_local_latents_are_compared(effects):
    """48 rows and 3: the lattice and the engine's quadrature are within 0.01 nats."""
    stats = effects.infer([counts_of(48), counts_of(3)], draws=200, **ONLY).sample_stats
    assert stats["log_joint_checked"].values.all() and stats["log_joint_agrees"].values.all()
    assert np.abs(stats["log_joint_error"].values).max() < 0.01


def test_discrete_latents_are_compared_in_memory_and_in_streams():
    """Labels of 64 rows, far beyond any sum over configurations."""
    guide = ap.train(ap.Task(labels, rows=(4, 64)), "laplace", progress=False)
    for data in (labels_of(64), ap.batches(labels_of(300), size=16)):
        stats = guide.infer(data, draws=200).sample_stats
        assert bool(stats["log_joint_checked"]) and bool(stats["log_joint_agrees"])
        assert abs(float(stats["log_joint_error"])) < 0.01


def test_an_engine_that_is_off_in_large_datasets_only(monkeypatch):
    """A twentieth of a nat a row, once there are more rows than a task is tried with."""
    right = Local.log_densities

    def off(self, vector, data):
        prior, rows = right(self, vector, data)
        return prior, rows + (0.05 if len(rows) > 20 else 0.0)

    monkeypatch.setattr(Local, "log_densities", off)
    jax.clear_caches()
    guide = ap.train(ap.Task(counts, {"x": dist.Normal(0, 1)}, (2, 48)), "laplace", progress=False)
    with pytest.warns(UnreliableWarning, match="'effect' taken out"):
        post = guide.infer(counts_of(40), draws=200, **ONLY)
    assert not bool(post.sample_stats["log_joint_agrees"])
    assert not bool(post.sample_stats["reliable"])
    assert verdict_of(post).startswith("not reliable")


def test_what_was_not_compared_does_not_agree(monkeypatch):
    """The judge has no tables: checked and agrees are False, the verdict and a note say so."""
    monkeypatch.setattr(factor_tables, "RUNS", 1)
    guide = ap.train(ap.Task(labels, rows=(4, 64)), "laplace", progress=False)
    post = guide.infer(labels_of(60), draws=200, **ONLY)
    stats = post.sample_stats
    assert not bool(stats["log_joint_checked"]) and not bool(stats["log_joint_agrees"])
    assert not bool(stats["reliable"])
    assert verdict_of(post).startswith("not compared with the model")
    assert any("'label'" in n for n in json.loads(post.attrs["warnings"]))
