"""Training on a pool of hierarchical tasks, against an exact posterior and an unbroken run."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.training.choose import trainer_for
from amortppl.training.pooled import KEPT, SLICE, PooledTrainer
from amortppl.training.schedule import Schedule
from amortppl.training.trainer import Trainer

GROUPS = 3
ARGUMENTS = {"width": 4, "hidden": 8}


def levels(group, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 2))
    with numpyro.plate("groups", GROUPS):
        effect = numpyro.sample("effect", dist.Normal(mean, 0.7))
    with numpyro.plate("row", group.shape[0]):
        numpyro.sample("y", dist.Normal(effect[group], 1.0), obs=y)


@pytest.fixture(scope="module")
def task():
    return ap.Task(levels, {"group": dist.Categorical(logits=jnp.zeros(GROUPS))}, rows=(6, 6))


def exact(group, y):
    """Mean and precision of (effects, mean), as the latents are ordered, given a dataset's rows."""
    prior = np.zeros((GROUPS + 1, GROUPS + 1))
    prior[-1, -1] = 1 / 4 + GROUPS / 0.49
    prior[-1, :-1] = prior[:-1, -1] = -1 / 0.49
    prior[:-1, :-1] = np.eye(GROUPS) / 0.49
    counts = np.bincount(group, minlength=GROUPS)
    precision = prior + np.diag([*counts, 0.0])
    sums = np.bincount(group, y, minlength=GROUPS)
    return np.linalg.solve(precision, np.append(sums, 0.0)), precision


@pytest.mark.slow
def test_kept_draws_are_of_the_posterior(task):
    """A correct program fails with probability 1e-4: both statistics are within four sds."""
    spec = ap.method("parametric", **ARGUMENTS)
    trainer = PooledTrainer(task, spec, Schedule(batch=SLICE, pooled=True), 0)
    pool = trainer.fill(trainer.weights, jr.key(1))
    rows = {
        n: np.concatenate([np.asarray(b.data[n]) for b in pool.batches]) for n in ("group", "y")
    }
    z = []
    for i in range(SLICE):
        mean, precision = exact(rows["group"][i], rows["y"][i])
        z.append((np.asarray(pool.draws[i]) - mean) @ np.linalg.cholesky(precision))
    z = np.array(z)
    assert z.shape == (SLICE, KEPT, GROUPS + 1)
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert (
        abs(z.var() - 1) < 4 * np.sqrt(2 / z.size) + 0.01
    )  # draws come of 256, some of them twice


@pytest.mark.slow
def test_a_resumed_run_ends_like_an_unbroken_one(task, tmp_path):
    schedule, file = {"batch": 8, "pooled": True, "progress": False}, tmp_path / "run"
    spec = ap.method("parametric", **ARGUMENTS)
    whole = ap.train(task, spec, steps=50, **schedule)
    loop = __import__("amortppl.training.loop", fromlist=["_chunks"])
    chunks = loop._chunks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_chunks", lambda *a: [next(chunks(*a))])
        ap.train(task, spec, steps=50, checkpoint=file, **schedule)
    again = ap.train(task, spec, steps=50, resume=file, **schedule)
    leaves = (jax.tree.leaves(g.method) for g in (whole, again))
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_array_equal(a, b)


def test_which_run_a_schedule_asks_for(task, monkeypatch):
    made = []
    for kind in (Trainer, PooledTrainer):
        monkeypatch.setattr(kind, "__init__", lambda self, *a, kind=kind: made.append(kind))
    for schedule in ({}, {"pooled": True}, {"pooled": True, "mini_batches": 2}):
        trainer_for(task, ap.method("parametric"), Schedule(**schedule), 0)
    assert made == [Trainer, PooledTrainer, Trainer]
