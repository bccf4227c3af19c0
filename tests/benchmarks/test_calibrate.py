"""Calibration of six inferences on two models: CPU seconds, faults found, and a loop of single fits.

Says for each: CPU seconds of 500 datasets with all compilation, the p-value of all checks, root mean
square z-scores, and how many times as long single fits take, one after the other, whose program is
compiled once (and, for NUTS, as NumPyro compiles it by default: for each dataset).
"""

import time

import jax
import jax.random as jr
import numpy as np
import numpyro
import numpyro.infer as infer
import pytest

import amortppl as ap
from amortppl.diagnostics.calibrate import calibrate_inference
from amortppl.diagnostics.inference_sbc import simulate_sizes
from amortppl.diagnostics.inferences.named import find_inference
from amortppl.diagnostics.inferences.trained import of_guide

DATASETS, LOOP = 500, 5
"""Datasets in all, and single fits."""

NAMES = (
    "numpyro.autoguide:AutoNormal",
    "numpyro.autoguide:AutoMultivariateNormal",
    "laplace",
    "pathfinder",
    "numpyro.nuts",
    "parametric",
)

TASKS = {
    "logistic_regression": lambda: ap.model("logistic_regression", rows=64),
    "eight_schools": lambda: ap.model("eight_schools"),
}

CALIBRATED = {
    ("logistic_regression", "numpyro.nuts"),
    ("eight_schools", "numpyro.nuts"),
}
"""What must pass."""

WRONG = {
    ("logistic_regression", "numpyro.autoguide:AutoNormal"),
    ("eight_schools", "numpyro.autoguide:AutoNormal"),
    ("eight_schools", "pathfinder"),
}
"""Known failures: mean-field sds are too small, and tau of eight schools is no Gaussian."""


@pytest.mark.parametrize("model", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_calibration(model, name, cost, say):
    if name == "pathfinder":
        pytest.importorskip("blackjax")
    task = TASKS[model]()
    options = {"minutes": 1.0} if name == "parametric" else None
    inference = find_inference(task, name, options)
    inference = inference if hasattr(inference, "run") else of_guide(inference)
    with cost() as spent:
        calibration = calibrate_inference(task, inference, DATASETS, 400)
    table = calibration.table
    worst = table["sbc_p"].idxmin()
    say(
        f"{model} {name}: {spent.cpu:.1f} CPU s; p = {calibration.p_value:.2g}; z-scores "
        f"{table['z_score'].min():.2f} to {table['z_score'].max():.2f}; worst {worst} "
        f"({table.loc[worst, 'sbc_p']:.2g}); problems {dict(calibration.problems)}"
    )
    assert spent.cpu < 120
    if (model, name) in CALIBRATED:
        assert calibration.p_value > 0.001
    if (model, name) in WRONG:
        assert calibration.p_value < 0.001


def single(name, task, data):
    """CPU seconds of a fit of one dataset, after one that has compiled."""
    model, _ = task.plain.called({n: v[0] for n, v in data.items()})
    if name == "numpyro.nuts":
        fit = infer.MCMC(
            infer.NUTS(model), num_warmup=300, num_samples=200, num_chains=2,
            chain_method="vectorized", jit_model_args=True, progress_bar=False,
        )  # fmt: skip

        def run(i):
            fit.run(jr.key(i), **task.plain.called({n: v[i] for n, v in data.items()})[1])
            jax.block_until_ready(fit.get_samples())
    else:
        guide = getattr(infer.autoguide, name.split(":")[1])(model)
        svi = infer.SVI(model, guide, numpyro.optim.Adam(0.01), infer.Trace_ELBO())

        @jax.jit
        def fitted(key, arguments):
            state = svi.init(key, **arguments)
            state = jax.lax.scan(lambda s, _: svi.update(s, **arguments), state, length=2000)[0]
            return guide.sample_posterior(key, svi.get_params(state), sample_shape=(400,))

        def run(i):
            arguments = task.plain.called({n: v[i] for n, v in data.items()})[1]
            jax.block_until_ready(fitted(jr.key(i), arguments))

    begin = time.process_time()
    run(0)
    first = time.process_time() - begin
    begin = time.process_time()
    for i in range(1, LOOP):
        run(i)
    return first, (time.process_time() - begin) / (LOOP - 1)


@pytest.mark.parametrize("model", TASKS)
@pytest.mark.parametrize("name", NAMES[:2] + NAMES[4:5])
def test_loop_of_single_fits(model, name, cost, say):
    """As a user writes it with care: compiled once; and as NumPyro's MCMC does by default: each."""
    task = TASKS[model]()
    group = simulate_sizes(task, jr.key(1), LOOP, [1 if task.block else 64])[0]
    first, later = single(name, task, group.data)
    with cost() as spent:
        calibrate_inference(task, find_inference(task, name), DATASETS, 400)
    once, each = first + DATASETS * later, DATASETS * first
    say(
        f"{model} {name}: {spent.cpu:.1f} CPU s together; single fits compiled once "
        f"{once / spent.cpu:.1f} times as many, compiled each {each / spent.cpu:.0f} times"
    )


def test_around_observed_datasets(cost, say):
    """Posterior SBC of a guide at 20 observed datasets."""
    task = ap.model("logistic_regression", rows=(16, 128))
    guide = ap.train(task, minutes=1.0, progress=False)
    spent, passed = [], 0
    for i in range(20):
        draw = task.simulate(jr.key(100 + i), 64)
        data = {n: np.asarray(v) for n, v in draw.data.items()}
        with cost() as one:
            table = ap.calibrate(task, guide, around=data, progress=False)
        spent.append(one.cpu)
        passed += bool(table["ok"].all() and table.attrs["ok_together"])
    say(f"posterior SBC: first {spent[0]:.1f}, later {np.median(spent[1:]):.2f} CPU s; {passed}/20")
    assert max(spent) < 20


def test_false_alarms_of_the_assertion(say):
    """Of 300 repetitions with an exact sampler at a rate of 5%: with probability 0.001 above 27."""
    task, failed = ap.model("gaussian_mean", rows=6), 0
    for seed in range(300):
        try:
            ap.testing.assert_calibrated(
                draw_exactly, task, 100, 100, seed, false_alarm=0.05, vmap=True
            )
        except AssertionError:
            failed += 1
    say(f"assert_calibrated at 5%: {failed} of 300 exact samplers failed")
    assert failed <= 27


def draw_exactly(data, key):
    """The exact posterior of `gaussian_mean`."""
    count = len(data["y"])
    noise = jr.normal(key, (100,)) / np.sqrt(count + 1)
    return {"mean": data["y"].sum() / (count + 1) + noise}
