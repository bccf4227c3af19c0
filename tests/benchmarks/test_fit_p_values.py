"""Are the p-values of `infer` uniform on data that the model made? Over 500 datasets from the prior.

    CASES=ar2,ode METHODS=laplace,parametric uv run pytest tests/benchmarks/test_fit_p_values.py -n0 -s

Both p-values (`distance_p`, which `laplace` has not, and `fit_p`) rank a dataset among simulated
tasks, the guide's pool: some that training has left, or new ones. All datasets ranked in one pool
share its chance, so that even a right program has a p below 0.01 in a third of the runs with one
pool of 256, which is told and not asserted. With ten fresh pools for 50 datasets each it is little
more than one in a hundred, for each p-value.
"""

import os

import jax
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import amortppl as ap
from amortppl.guide.guide import Guide
from amortppl.training.simulate import WHOLE, parts, simulate
from benchmarks.test_series import garch
from benchmarks.test_series_streams import autoregression

CASES = os.environ.get("CASES", "ar2,ode,garch").split(",")
METHODS = os.environ.get("METHODS", "laplace,parametric").split(",")
DATASETS = int(os.environ.get("DATASETS", "500"))
POOLS = int(os.environ.get("POOLS", "10"))
KINDS = ("distance_p", "fit_p")


def task_of(name):
    if name == "ode":
        return ap.model("lotka_volterra_ode")
    return ap.Task({"ar2": autoregression, "garch": garch}[name], rows=(50, 200))


def simulated(task):
    """Datasets from the prior with log-uniform numbers of rows."""
    layout = parts(task, DATASETS, 1, WHOLE)
    made = jax.jit(lambda key: simulate(task, key, layout, 0))(jr.key(2030))
    data, masks = made.batches[0].data, np.asarray(made.batches[0].mask)
    arrays = {n: np.asarray(v) for n, v in data.items()}
    usable = np.flatnonzero(made.usable)
    if task.block:
        return [{n: v[i, 0] for n, v in arrays.items()} for i in usable]
    return [{n: v[i, masks[i]] for n, v in arrays.items()} for i in usable]


def p_values(guide, datasets):
    post = guide.infer(datasets, draws=100, log_likelihood=False, predictive=False)
    values = {kind: post.sample_stats[kind].values for kind in KINDS}
    return {kind: p for kind, p in values.items() if not np.isnan(p).all()}


def line(values):
    """The p of Kolmogorov and Smirnov's test of each kind, and the shares of small p-values."""
    return "; ".join(
        f"{kind} KS p {stats.kstest(p, 'uniform').pvalue:.3f}, below 0.0125 "
        f"{100 * np.mean(p < 0.0125):.1f}%, below 0.05 {100 * np.mean(p < 0.05):.1f}%"
        for kind, p in values.items()
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_p_values_are_uniform(name, method, cost, say):
    task = task_of(name)
    with cost() as spent:
        steps = {} if method == "laplace" else {"steps": int(os.environ.get("STEPS", "500"))}
        guide = ap.train(task, method, progress=False, **steps)
        datasets = simulated(task)
        own = p_values(guide, datasets)
    say(
        f"{name}, {method}, its own pool, {len(datasets)} datasets: {line(own)}; {spent.cpu:.0f} CPU s"
    )
    with cost() as spent:
        each = []
        for pool in range(POOLS):
            other = Guide(guide.method, guide.spec, guide.record, 1000 + pool, guide.ranges)
            each.append(p_values(other, datasets[pool::POOLS]))
        fresh = {kind: np.concatenate([e[kind] for e in each]) for kind in own}
    say(f"{name}, {method}, {POOLS} fresh pools: {line(fresh)}; {spent.cpu:.0f} CPU s")
    for p in fresh.values():
        assert stats.kstest(p, "uniform").pvalue > 0.01
