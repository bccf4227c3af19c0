"""Simulation-based calibration of `ap.fit` itself, with nothing trained.

Datasets are simulated from a formula's own program under priors narrow enough for them to be
likely, and fitted in one call by the frame and importance weights, without the dearer rungs. Among
a dataset's weighted draws the share below the truth is uniform if the posterior is right (Talts et
al. 2018). Figures: the p-value of uniformity (of the whole distribution, of its centre and of its
width, over all latents), datasets that the frame answered, those answered below SVI and NUTS, and
what 400 draws are worth. `AMORTPPL_CALIBRATED` says how many datasets.
"""

import os
import time

import jax
import jax.random as jr
import numpy as np
import pandas as pd
import pytest
from numpyro.infer import Predictive

import amortppl as ap
from amortppl.diagnostics.uniformity import p_values

DATASETS = int(os.environ.get("AMORTPPL_CALIBRATED", "200"))
ROWS = (30, 100, 1000)
SLOPES = {"Intercept": "Normal(0.5, 0.5)", "x": "Normal(0, 0.5)", "g": "Normal(0, 0.5)"}
FAMILIES = {
    "gaussian": {"sigma": "Exponential(1)"},
    "student": {"sigma": "Exponential(1)", "freedom": "Gamma(4, 0.5)"},
    "bernoulli": {},
    "poisson": {},
    "negative_binomial": {"concentration": "Gamma(4, 2)"},
    "gamma": {"shape": "Gamma(4, 2)"},
    "beta": {"precision": "Gamma(4, 0.4)"},
    "weibull": {"shape": "Gamma(4, 2)"},
}


def template(family, rows):
    """The formula on rows whose outcome only says what kind it has."""
    random = np.random.default_rng(rows)
    table = pd.DataFrame({"x": random.normal(size=rows), "g": random.choice(list("ab"), rows)})
    kinds = {"bernoulli": [0, 1], "poisson": [0, 3], "negative_binomial": [0, 3]}
    table["y"] = random.choice(kinds.get(family, [0.2, 0.7]), rows)
    return ap.formula("y ~ x + g", table, family, priors=SLOPES | FAMILIES[family])


def shares_below(draws, weights, truth):
    """Weighted shares of draws (T, S, ...) below the truth (T, ...), as (T, K).

    Each is spread over the gap between two ranks: none is 0 or 1, whose normal scores have no end.
    """
    below = (draws < truth[:, None]).reshape(*draws.shape[:2], -1)
    share = np.einsum("ts,tsk->tk", weights / weights.sum(1, keepdims=True), below)
    count = draws.shape[1]
    return (count * share + np.random.default_rng(0).uniform(size=share.shape)) / (count + 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("family", FAMILIES)
def test_shares_are_uniform(family, rows):
    """A right program fails once in a thousand runs."""
    jax.clear_caches()
    form = template(family, rows)
    inputs = {n: v for n, v in form.data.items() if n != "y"}
    simulated = Predictive(form.model, num_samples=DATASETS)(jr.key(rows), **inputs)
    simulated = {n: np.asarray(v) for n, v in simulated.items()}
    values = simulated["y"]
    if values.dtype.kind == "f":  # 32 bits round draws of a beta or a gamma to the ends
        low, high = np.finfo(np.float32).tiny, 1 - 1e-6 if family == "beta" else np.inf
        values = values if family in ("gaussian", "student") else np.clip(values, low, high)
    begin = time.process_time()
    post = ap.fit(
        form.model,
        [{**inputs, "y": y} for y in values],
        draws=400,
        log_likelihood=False,
        predictive=False,
        rungs=("weighted", "psis"),
    )
    spent = time.process_time() - begin
    stats = post["sample_stats"]
    weights = np.exp(stats["log_weight"].values[:, 0])
    names = [n for n in ("intercept_at_means", "coefficient", *FAMILIES[family])]
    draws = {n: post["posterior"][n].values[:, 0] for n in names}
    pit = np.concatenate([shares_below(draws[n], weights, simulated[n]) for n in names], 1)
    p = float(min(1.0, p_values(pit).min() * pit.shape[1]))
    passed = stats["reliable"].values
    print(
        f"\n{family:18} {rows:5} rows  {DATASETS} datasets  p {p:.3f}  frame "
        f"{100 * np.mean((stats['source'].values == 'frame') & passed):.1f}%  below SVI and NUTS "
        f"{100 * passed.mean():.1f}%  worth {np.median(stats['importance_sample_size']):.0f} of "
        f"400  {spent:.1f} CPU s"
    )
    assert p > 1e-3
