"""Simulation-based calibration of censored outcomes: of the guide as it is, and of what `infer`
answers, by weights and the ladder.

    uv run pytest tests/benchmarks/test_censored.py -n0 -s

`DATASETS` in the environment changes how much it measures.
"""

import os
import warnings

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.group_summary import as_user_data

DATASETS, DRAWS = int(os.environ.get("DATASETS", "200")), 400
LEAST = 0.001
"""Of a calibrated program, p-values below this once in a thousand tables."""


def right(x, event, time=None):
    """Exponential survival; the indicator is one where the time was seen."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        base = dist.Exponential(jnp.exp(a + b * x))
        numpyro.sample("time", dist.RightCensoredDistribution(base, event == 0), obs=time)


def left(x, low, y=None):
    """A normal regression below whose limit nothing is seen."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1))
    sd = numpyro.sample("sd", dist.HalfNormal(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.LeftCensoredDistribution(dist.Normal(a + b * x, sd), low), obs=y)


def right_in_groups(x, hospital, n_hospital, event, time=None):
    """Exponential survival with a level of each hospital."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 0.5))
    spread = numpyro.sample("spread", dist.HalfNormal(0.5))
    with numpyro.plate("hospitals", n_hospital):
        level = numpyro.sample("level", dist.Normal(a, spread))
    with numpyro.plate("row", x.shape[0]):
        base = dist.Exponential(jnp.exp(level[hospital] + b * x))
        numpyro.sample("time", dist.RightCensoredDistribution(base, event == 0), obs=time)


X = {"x": dist.Normal(0, 1)}
KINDS = {
    "right": lambda: ap.Task(right, X, (8, 64), censoring={"event": dist.Uniform(0.5, 3)}),
    "left": lambda: ap.Task(left, X, (8, 64), censoring={"low": dist.Normal(-0.5, 0.5)}),
    "right_in_groups": lambda: ap.Task(
        right_in_groups, X, (2, 12), groups={"hospital": (4, 12)},
        censoring={"event": dist.Uniform(0.5, 3)},
    ),
}  # fmt: skip
SCHEDULE = {"right": {"steps": 300}, "left": {"steps": 300}, "right_in_groups": {"steps": 150}}


def through_infer(guide):
    """What a user's call returns for a dataset: draws after weights and the ladder."""
    reliable = []

    def infer(data, key):
        seed = int(jr.randint(key, (), 0, 2**30))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            post = guide.infer(data, draws=DRAWS, seed=seed, log_likelihood=False, predictive=False)
        reliable.append(bool(np.all(post.sample_stats["reliable"])))
        return {n: np.asarray(post.posterior[n].values) for n in guide.task.latents.names}

    return infer, reliable


@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_through_training_and_infer(kind, cost, say):
    task = KINDS[kind]()
    with cost() as training:
        guide = ap.train(task, **SCHEDULE[kind], progress=False)
    with cost() as own:
        table = ap.calibrate(task, guide, DATASETS, DRAWS, progress=False)
    say(f"{kind}: trained in {training.cpu:.0f} CPU s; guide {own.cpu:.0f} CPU s\n{table.round(3)}")
    share = censored_share(task)
    say(f"{kind}: {share:.0%} of rows censored, together {table.attrs}")
    assert table["sbc_p"].min() > LEAST
    infer, reliable = through_infer(guide)
    with cost() as asked:
        table = ap.calibrate(task, infer, DATASETS, DRAWS, progress=False)
    say(
        f"{kind} through infer: {asked.cpu:.0f} CPU s, reliable {np.mean(reliable):.0%}\n"
        f"{table.round(3)}"
    )
    assert table["sbc_p"].min() > LEAST


def censored_share(task):
    """Of the rows of 20 simulated datasets."""
    name, seen = ("low", 1) if "low" in task.arguments else ("event", 0)
    rows = 8 if task.grouping else task.rows[1]
    draws = [evaluate(lambda k: task.simulate(k, rows), jr.key(i)) for i in range(20)]
    data = [{n: np.asarray(v) for n, v in d.data.items()} for d in draws]
    if task.grouping:
        data = [as_user_data(task.group_layout, d) for d in data]
    return float(np.mean(np.concatenate([np.asarray(d[name]) == seen for d in data])))
