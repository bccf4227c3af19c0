"""Batches of simulated tasks: sizes, padding, and tasks that cannot be used."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import amortppl as ap
from amortppl.training.simulate import SHARES, Part, parts, simulate
from conjugate import mean_model


@pytest.fixture(scope="module")
def task():
    return ap.Task(mean_model, rows=(4, 400))


@pytest.fixture(scope="module")
def episodes(task):
    return jax.jit(lambda key: simulate(task, key, parts(task, 800, 1), 0))(jr.key(0))


def test_sizes_are_log_uniform_over_all_parts(episodes):
    """The share of tasks at or below each size n is log((n + 1) / 4) / log(401 / 4).

    Sizes are stratified by part, which brings them nearer; Kolmogorov and Smirnov's bound fails
    once in 10,000 seeds.
    """
    sizes = np.concatenate([np.asarray(b.mask).sum(1) for b in episodes.batches])
    assert sizes.min() >= 4 and sizes.max() <= 400
    at = np.arange(4, 401)
    share = np.mean(sizes[:, None] <= at, 0)
    assert np.max(np.abs(share - np.log((at + 1) / 4) / np.log(401 / 4))) < stats.kstwo.isf(
        1e-4, 800
    )


def test_parts_hold_small_tasks_and_large(task, episodes):
    small, large = parts(task, 800, 1)
    assert [small.tasks, large.tasks] == [round(800 * s) for s in SHARES]
    assert small.rows < 100 and large.rows == 400
    for batch, part in zip(episodes.batches, (small, large), strict=True):
        assert batch.mask.shape == (part.tasks, part.rows)
        kept = np.asarray(batch.mask)
        assert (kept[:, :-1] >= kept[:, 1:]).all()  # padding comes last


def test_rows_divide_into_mini_batches(task):
    assert all(p.rows % 3 == 0 for p in parts(task, 8, 3))
    assert parts(ap.Task(mean_model, rows=10), 8, 4) == [Part(8, 12, 0.0, 1.0)]


def test_a_task_that_is_not_finite_is_replaced_and_counted():
    """exp(exp(z)) overflows float32 for z > 4.49: at scale 4 in 13% of the tasks.

    None of 64 overflows for one seed in 8,000; 32 or more for less than one in a million.
    """

    def explosive(rows, y=None):
        z = numpyro.sample("z", dist.Normal(0, 4))
        with numpyro.plate("row", rows):
            numpyro.sample("y", dist.Normal(jnp.exp(jnp.exp(z)), 1), obs=y)

    task = ap.Task(explosive, rows=8)
    made = jax.jit(lambda key: simulate(task, key, parts(task, 64, 1), 0))(jr.key(1))
    usable = np.asarray(made.usable)
    assert 0 < np.sum(~usable) < 32
    assert np.isfinite(made.batches[0].data["y"]).all() and np.isfinite(made.target.latents).all()
    assert (np.asarray(made.target.latents)[usable] < 4.49).all()
