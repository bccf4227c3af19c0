"""One guide, any number of groups: calibration of shared latents and of effects by simulation, and
CPU seconds.

    uv run pytest tests/benchmarks/test_groups.py -n0 -s

`STEPS` and `DATASETS` in the environment change how long it trains and how much it measures; `GUIDE`
names a saved guide to measure instead.
"""

import os
import resource
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import amortppl as ap
from amortppl.posterior.draws import draws_at_once, sample, states
from amortppl.posterior.local_draws import draw
from amortppl.task.batch import Batch
from amortppl.task.parity import simulated
from amortppl.trust import psis

STEPS = int(os.environ.get("STEPS", "300"))
DATASETS, DRAWS, TOGETHER = int(os.environ.get("DATASETS", "96")), 99, 8


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def guide():
    begin, task = cpu_seconds(), ap.model("hierarchical_logistic")
    if "GUIDE" in os.environ:
        return ap.load(os.environ["GUIDE"], task=task)
    trained = ap.train(task, steps=STEPS, progress=False)
    print(f"\ntrained {STEPS} steps in {cpu_seconds() - begin:.0f} CPU s")
    return trained


def one_chunk(guide, key, groups):
    """Ranks (T, P) of the shared latents and (T,) of one group's effect, and k-hats (T,)."""
    task = guide.task
    points = jax.jit(jax.vmap(partial(simulated, task), (0, None)), static_argnums=1)(
        jr.split(jr.fold_in(key, 0), TOGETHER), groups
    )
    batch = Batch(points.data, jnp.ones((TOGETHER, groups), bool))
    size, keys = draws_at_once(task, batch), jr.split(jr.fold_in(key, 2), TOGETHER)
    drawn = sample(guide.method, states(guide.method, batch), batch, keys, DRAWS, size)
    shared = np.sum(np.asarray(drawn.vectors) < np.asarray(points.vector)[:, None], 1)
    first = {n: v[:, :1] for n, v in points.data.items()}
    keys = jr.split(jr.fold_in(key, 1), (TOGETHER, DRAWS))
    each = jax.vmap(lambda v, d, k: draw(task, v, d, k).numbers, (0, None, 0))
    effects = np.asarray(jax.jit(jax.vmap(each))(drawn.vectors, first, keys))[:, :, 0, 0]
    own = np.sum(effects < np.asarray(points.local["effect"])[:, :1], 1)
    check = psis.check(np.asarray(drawn.log_joint), np.asarray(drawn.log_guide))
    return shared, own, check.khat


@pytest.mark.parametrize("groups", [5, 50, 500, 5000])
def test_calibrated_at_any_number_of_groups(guide, groups):
    """Each p-value of a calibrated guide is below 0.001 once in a thousand; there are 16."""
    begin, datasets = cpu_seconds(), DATASETS * 2 // 3 if groups == 5000 else DATASETS
    chunks = [
        one_chunk(guide, jr.fold_in(jr.key(5), i), groups) for i in range(datasets // TOGETHER)
    ]
    shared, own, khat = (np.concatenate(c) for c in zip(*chunks, strict=True))
    random = np.random.default_rng(0)
    for name, ranks in zip([*guide.task.latents.names, "effect"], [*shared.T, own], strict=True):
        level = (ranks + random.uniform(size=len(ranks))) / (DRAWS + 1)
        p = stats.kstest(level, "uniform").pvalue
        print(f"{groups} groups: {name} p = {p:.3f}, mean rank {level.mean():.3f}")
        assert p > 0.001
    seconds = (cpu_seconds() - begin) / datasets
    print(f"{groups} groups: k-hat < 0.7 of {(khat < 0.7).mean():.0%}; {seconds:.2f} CPU s each")
