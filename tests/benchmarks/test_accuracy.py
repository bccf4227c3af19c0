"""Posteriors of fresh datasets against long NUTS runs, for one guide a model trained on all sizes.

z is the error of the posterior mean in reference sds, ratio that of sds, both medians over
datasets and latents; C2ST by quadratic discriminant. The floor of z is the Monte-Carlo error of
both sides: 0.67 sqrt(1/2000 + 1/ESS), about 0.02.
"""

import jax
import jax.random as jr
import numpy as np
import pytest

import amortppl as ap
from amortppl.data.dataset import Dataset
from amortppl.posterior.draws import draw
from benchmarks.reference import nuts, scores, simulated

REGRESSIONS = ["linear", "logistic", "poisson", "negative_binomial", "robust"]
DRAWS = 2000
guides: dict = {}


def guide_of(name, cost, say):
    """The guide of a model by its defaults, trained once."""
    if name not in guides:
        with cost() as spent:
            guides[name] = ap.train(ap.model(name), seed=0, progress=False)
        say(f"{name}: trained with defaults in {spent.cpu:.0f} CPU s, {spent.wall:.0f} s wall")
        guides[name].cpu = spent.cpu
    return guides[name]


def compare(guide, rows, datasets, cost, say):
    """Scores of the guide against NUTS on fresh datasets of equal size."""
    latents, data = simulated(guide.task, datasets, rows)
    split = [Dataset({n: v[i] for n, v in data.items()}, {}) for i in range(datasets)]
    drawn = np.asarray(draw(guide.method, split, DRAWS, 0).vectors)
    with cost() as spent:
        reference = nuts(guide.task, latents, data, DRAWS)
    scored = scores(drawn, reference)
    row = ", ".join(f"{k} {v:.3f}" for k, v in scored.items())
    say(
        f"{guide.task.name}, {rows} rows, {datasets} datasets: {row} (reference NUTS "
        f"{spent.cpu:.0f} CPU s)"
    )
    return scored


@pytest.mark.parametrize("name", REGRESSIONS)
def test_hundred_rows(name, cost, say):
    guide = guide_of(f"{name}_regression", cost, say)
    scored = compare(guide, 100, 50, cost, say)
    strict = name == "linear"
    assert scored["z"] <= (0.05 if strict else 0.08)
    assert (0.98 if strict else 0.96) <= scored["ratio"] <= (1.02 if strict else 1.04)
    assert scored["c2st"] <= (0.53 if strict else 0.55)
    assert guide.cpu <= (60 if strict else 120)


@pytest.mark.parametrize("rows", [8, 512])
@pytest.mark.parametrize("name", REGRESSIONS)
def test_smallest_and_largest(name, rows, cost, say):
    scored = compare(guide_of(f"{name}_regression", cost, say), rows, 50, cost, say)
    assert scored["z"] <= 0.1
    assert 0.95 <= scored["ratio"] <= 1.05


@pytest.mark.parametrize(
    ("name", "rows", "datasets"), [("gaussian_mixture", 1000, 20), ("eight_schools", 1, 50)]
)
def test_mixture_and_eight_schools(name, rows, datasets, cost, say):
    scored = compare(guide_of(name, cost, say), rows, datasets, cost, say)
    assert scored["z"] <= 0.1
    assert 0.95 <= scored["ratio"] <= 1.05
    assert scored["c2st_marginal"] <= 0.56


@pytest.mark.parametrize(
    "name",
    [
        *(f"{r}_regression" for r in REGRESSIONS),
        "gaussian_mixture",
        "eight_schools",
        "gaussian_mean",
    ],
)
def test_khat_in_range(name, cost, say):
    """k-hat < 0.7 on at least 95% of 200 datasets with sizes as in training."""
    guide = guide_of(name, cost, say)
    task = guide.task
    low, high = task.rows or (1, 1)
    sizes = np.exp(np.random.default_rng(0).uniform(np.log(low), np.log(high + 1), 200)).astype(int)
    most = jax.jit(jax.vmap(lambda k: task.simulate(k, high).data))(jr.split(jr.key(77), 200))
    data = [{n: np.asarray(v[i])[: sizes[i]] for n, v in most.items()} for i in range(200)]
    data = [{n: v[0] for n, v in d.items()} for d in data] if task.block else data
    khat = guide.infer(data, log_likelihood=False, predictive=False)["sample_stats"]["khat"].values
    say(
        f"{name}: k-hat < 0.7 on {np.mean(khat < 0.7):.1%} of 200 datasets of {low} to {high} "
        f"rows, median "
        f"{np.median(khat):.2f}"
    )
    assert np.mean(khat < 0.7) >= 0.95
