"""Crossed effects of subjects and items: `ap.fit` beside exact moments, and beside NUTS.

`uv run pytest tests/benchmarks/test_crossed.py -n0 -s`, with `SIZES=30x20x600,120x60x2400`
(subjects x items x rows) for others. The truth shares nothing with the engine: a grid over the
three scales in float64, all else in closed form given these.
"""

import os
import time

import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS

import amortppl as ap
from amortppl.catalogue import module
from crossed_moments import EFFECTS, Exact, compare, crossed_data, describe

SIZES = os.environ.get("SIZES", "30x20x600").split(",")
DRAWS = int(os.environ.get("DRAWS", "4000"))


@pytest.mark.parametrize("size", SIZES)
def test_fit_beside_exact_moments(size, say):
    data = crossed_data(*map(int, size.split("x")))
    begin = time.process_time()
    post = ap.fit(module("models", "crossed").model, data, draws=DRAWS)
    spent = time.process_time() - begin
    stats = post["sample_stats"]
    truth = Exact(data).moments()
    errors, ratios = compare(post["posterior"], truth)
    say(f"{size}: {stats['source'].values} k-hat {float(stats['khat'].values):.2f}, reliable "
        f"{bool(stats['reliable'].values)}, {spent:.1f} CPU s; {describe(errors, ratios)}")  # fmt: skip
    assert errors.max() < 0.2


def logistic(x, subject, item, n_subject, n_item, y=None):
    """Yes-or-no answers; else as `models/crossed.py`."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 0.5))
    by_subject = numpyro.sample("by_subject", dist.HalfNormal(0.7))
    by_item = numpyro.sample("by_item", dist.HalfNormal(0.7))
    with numpyro.plate("subjects", n_subject):
        of_subject = numpyro.sample("of_subject", dist.Normal(0, by_subject))
    with numpyro.plate("items", n_item):
        of_item = numpyro.sample("of_item", dist.Normal(0, by_item))
    with numpyro.plate("row", x.shape[0]):
        logits = level + of_subject[subject] + of_item[item] + slope * x
        numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


@pytest.mark.parametrize("size", SIZES)
def test_fit_of_yes_or_no_beside_nuts(size, say):
    """The truth is 4 chains of 3,000 draws after 1,000, whose own error is said."""
    data = crossed_data(*map(int, size.split("x")), outcome="yes or no")
    begin = time.process_time()
    post = ap.fit(logistic, data, draws=DRAWS)
    spent, begin = time.process_time() - begin, time.process_time()
    numbers = {f"n_{n}": int(data[n].max()) + 1 for n in EFFECTS.values()}
    chains = {"num_chains": 4, "chain_method": "sequential", "progress_bar": False}
    nuts = MCMC(NUTS(logistic, target_accept_prob=0.9), num_warmup=1000, num_samples=3000, **chains)
    nuts.run(jr.key(0), **data, **numbers)
    of_nuts, by_chain = time.process_time() - begin, nuts.get_samples(group_by_chain=True)
    worth = min(np.min(effective_sample_size(np.asarray(v))) for v in by_chain.values())
    truth = {n: (np.ravel(v.mean((0, 1))), np.ravel(v.std((0, 1)))) for n, v in by_chain.items()}
    stats = post["sample_stats"]
    say(f"yes or no, {size}: {stats['source'].values} k-hat {float(stats['khat'].values):.2f}, "
        f"reliable {bool(stats['reliable'].values)}, {spent:.1f} CPU s, NUTS {of_nuts:.1f} (worth "
        f"{worth:.0f} draws); {describe(*compare(post['posterior'], truth))}")  # fmt: skip
    assert compare(post["posterior"], truth)[0].max() < 0.2
