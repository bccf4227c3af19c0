"""Log joints with latents summed and integrated out, compared on users' rows."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.errors import UnreliableWarning
from amortppl.posterior.draws import Drawn
from amortppl.report.summary import verdict_of
from amortppl.task import factor_tables
from amortppl.task.batch import Batch
from amortppl.task.local_latents import Local
from amortppl.trust.parity_notes import judge_parity

RNG = np.random.default_rng(0)


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
    x = RNG.normal(size=rows)
    return {"x": x, "y": RNG.poisson(np.exp(0.3 + x + RNG.normal(size=rows)))}


def labels_of(rows):
    return {"y": 2.5 * RNG.binomial(1, 0.3, rows) + RNG.normal(size=rows)}


def judged(task, data):
    """`judge_parity` of one dataset at five draws, with the engine's log joint in 32 bits."""
    dataset = read(task, data)
    vectors = RNG.normal(size=(1, 5, task.latents.size)).astype(np.float32)
    batch = Batch(
        {n: jnp.asarray(v) for n, v in dataset.arrays.items()}, jnp.ones(dataset.rows, bool)
    )
    joint = np.asarray(jax.jit(jax.vmap(lambda v: task.log_joint(v, batch)))(vectors[0]))[None]
    return judge_parity(task, [dataset], Drawn(vectors, joint, joint, joint))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [3, 100])
def test_local_latents_are_compared(rows):
    """The lattice and the engine's quadrature are within 0.02 nats."""
    stats, notes = judged(ap.Task(counts, {"x": dist.Normal(0, 1)}), counts_of(rows))
    assert stats["log_joint_checked"].all() and stats["log_joint_agrees"].all()
    assert np.abs(stats["log_joint_error"]).max() < 0.02
    assert notes == [[]]


def test_discrete_latents_are_compared():
    """Labels of 300 rows, far beyond any sum over configurations."""
    stats, _ = judged(ap.Task(labels), labels_of(300))
    assert stats["log_joint_checked"].all() and stats["log_joint_agrees"].all()
    assert np.abs(stats["log_joint_error"]).max() < 0.01


@pytest.mark.slow
def test_an_engine_that_is_off_in_large_datasets_only(monkeypatch):
    """A twentieth of a nat a row, once there are more rows than a task is tried with."""
    right = Local.log_densities

    def off(self, vector, data):
        prior, rows = right(self, vector, data)
        return prior, rows + (0.05 if len(rows) > 20 else 0.0)

    monkeypatch.setattr(Local, "log_densities", off)
    with pytest.warns(UnreliableWarning, match="'effect' taken out"):
        stats, notes = judged(ap.Task(counts, {"x": dist.Normal(0, 1)}), counts_of(40))
    assert stats["log_joint_checked"].all() and not stats["log_joint_agrees"].any()
    assert notes[0][0].startswith("NOT RELIABLE")


def test_what_was_not_compared_does_not_agree(monkeypatch):
    """The judge has no tables: checked and agrees are False, and a note says why."""
    monkeypatch.setattr(factor_tables, "RUNS", 1)
    stats, notes = judged(ap.Task(labels), labels_of(60))
    assert not stats["log_joint_checked"].any() and not stats["log_joint_agrees"].any()
    assert "not compared with the model" in notes[0][0] and "'label'" in notes[0][0]


@pytest.mark.slow
def test_a_whole_answer_in_memory_in_a_stream_and_unchecked(monkeypatch):
    """The verdict of `infer` with discrete latents, compared and not."""
    guide = ap.train(ap.Task(labels, rows=(4, 64)), "laplace", progress=False)
    for data in (labels_of(64), ap.batches(labels_of(64), size=16)):
        stats = guide.infer(data, draws=200).sample_stats
        assert bool(stats["log_joint_checked"]) and bool(stats["log_joint_agrees"])
    guide.task.judge.reason = "for a test"
    post = guide.infer(labels_of(60), draws=200, predictive=False, log_likelihood=False)
    assert not bool(post.sample_stats["reliable"])
    assert verdict_of(post).startswith("not compared with the model")
