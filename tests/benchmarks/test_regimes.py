"""The regimes on the same tasks, trained for equal CPU seconds: gaps to exact predictives, errors
beside anchors.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import minimize

import amortppl as ap
from amortppl import catalogue
from amortppl.data.dataset import read
from amortppl.diagnostics.compare import _score
from amortppl.diagnostics.held_out import hold_out_one
from amortppl.method import final
from amortppl.posterior.new_rows import new_rows
from amortppl.posterior.padding import stack
from amortppl.task.batch import Batch
from benchmarks.budget import trained
from benchmarks.reference import simulated

DATASETS, QUERIES = 30, 32


LINEAR, GAUSSIAN_PROCESS = ("linear_regression", (20, 100, 500)), ("gp_regression", (5, 15, 50))


@pytest.mark.parametrize(
    ("model", "sizes", "method", "seconds", "most"),
    [
        (*LINEAR, "parametric", 60, 0.002),
        (*LINEAR, "conjugate_head", 120, 0.005),
        (*LINEAR, "in_context", 600, 0.02),
        (*LINEAR, "neural_process", 600, 0.04),
        (*GAUSSIAN_PROCESS, "in_context", 600, 0.03),
        (*GAUSSIAN_PROCESS, "conjugate_head", 120, 0.08),
        (*GAUSSIAN_PROCESS, "neural_process", 300, 0.08),
    ],
)
def test_gap_to_the_exact_predictive(model, sizes, method, seconds, most, say):
    """Nats a query, at several numbers of context rows: 5 covariates; or one dimension and a known
    kernel.
    """
    task, file = ap.model(model), catalogue.module("models", model)
    guide = trained(task, method, seconds)
    gaps = {}
    for rows in sizes:
        gaps[rows] = _score(
            guide, [hold_out_one(task, file, rows, 0, i) for i in range(DATASETS)], rows, 1
        )
    lines = ", ".join(
        f"{rows} rows {f['gap']:.4f} +- {f['gap_se']:.4f}" for rows, f in gaps.items()
    )
    say(f"{model}, {method}, {seconds} CPU s, {guide.record.steps} updates: gap {lines}")
    assert max(f["gap"] for f in gaps.values()) <= most


def test_hyper_parameters_of_a_gaussian_process(cost, say):
    """1 to 8 inputs; held-out log predictive against type-II maximum likelihood (L-BFGS from three
    starts).

    Hyper-parameters of 30 datasets at once, 50 draws of each, against a search for each; beside it
    what `infer` adds.
    """
    task = ap.model("gaussian_process")
    guide = trained(task, ap.method("parametric", density="mixture"), 120)
    heights = jax.jit(jax.value_and_grad(lambda v, data: -jnp.sum(task.log_densities(v, data)[1])))
    ahead_of = jax.jit(lambda v, context, query: _gaussian(task, v, context, query))
    worse, slowest = {}, []
    for rows in (10, 30, 60):
        pairs = [_cut(data, rows) for data in _datasets(task, rows)]
        sets = [context for context, _ in pairs]
        batches = stack(task, [read(task, context) for context in sets], list(range(len(sets))))
        heights(jnp.zeros(task.latents.size), sets[0])
        _hyper_parameters(guide.method, batches)
        guide.infer(sets, draws=50, predictive=False, log_likelihood=False)
        with cost() as search:
            points = [
                _type_two(task, heights, context, number) for number, context in enumerate(sets)
            ]
        with cost() as amortized:
            jax.block_until_ready(_hyper_parameters(guide.method, batches))
        with cost() as checked:
            guide.infer(sets, draws=50, predictive=False, log_likelihood=False)
        theirs = [
            np.mean(ahead_of(point, *pair)) for point, pair in zip(points, pairs, strict=True)
        ]
        ours = [guide.log_predictive(context, query, draws=50).mean() for context, query in pairs]
        apart = np.subtract(theirs, ours)
        worse[rows] = np.median(apart)
        slowest.append(search.cpu / amortized.cpu)
        say(
            f"{rows} rows: log predictive ours {np.mean(ours):.3f} (median {np.median(ours):.3f}), "
            f"type II "
            f"{np.mean(theirs):.3f} ({np.median(theirs):.3f}), median difference "
            f"{np.median(apart):.3f}, mean "
            f"{np.mean(apart):.3f} +- {np.std(apart) / len(apart) ** 0.5:.3f}; "
            f"{slowest[-1]:.0f} times the speed, {search.cpu / checked.cpu:.0f} times with all "
            f"checks"
        )
    assert max(worse.values()) <= 0.02 and min(slowest) >= 50


@eqx.filter_jit
def _hyper_parameters(method, batches):
    """50 draws of the posterior of each dataset."""
    return jax.vmap(lambda b: method.readout(final(method, b)).sample(jr.key(0), 50)[0])(batches)


def _type_two(task, heights, context, number):
    """Maximum of the marginal likelihood of three searches: from the prior's centre and from two
    draws of it.
    """

    def height(at):
        value, slope = heights(jnp.asarray(at, jnp.float32), context)
        return float(np.nan_to_num(value, nan=1e10)), np.nan_to_num(np.asarray(slope, np.float64))

    keys = jr.split(jr.key(number), 2)
    starts = [
        np.zeros(task.latents.size),
        *(np.asarray(task.simulate(k, 5).latents, np.float64) for k in keys),
    ]
    searches = [
        minimize(height, s, jac=True, method="L-BFGS-B", bounds=[(-7, 7)] * len(s)) for s in starts
    ]
    return jnp.asarray(min(searches, key=lambda s: s.fun).x, jnp.float32)


def test_more_context_than_trained_on(say):
    """Trained with at most 256 rows, asked with 4096 in 16 steps: how much of the possible gain
    over 256 it takes.
    """
    task, file = (
        ap.model("linear_regression", rows=(8, 256)),
        catalogue.module("models", "linear_regression"),
    )
    guide = trained(task, "in_context", 240)
    held = [hold_out_one(task, file, 4096, 0, i) for i in range(DATASETS)]
    whole = _score(guide, held, 4096, 16)
    short = [h._replace(context={n: v[:256] for n, v in h.context.items()}) for h in held]
    one = _score(guide, short, 256, 1)
    gain = (whole["lpd"] - one["lpd"]) / one["gap"]
    say(
        f"gap {one['gap']:.4f} of 256 rows, {whole['gap']:.4f} of 4096 in 16 steps: "
        f"{100 * gain:.0f}% of the gain"
    )
    assert gain >= 0.6


def test_sinusoid(say):
    """10 shots: mean squared error beside MAML's (its network: two layers of 40, 5 gradient steps),
    noise 0.01.
    """
    task, mean_errors = ap.model("sinusoid_regression"), {}
    for method in ("maml", "in_context", "neural_process", "parametric"):
        guide = trained(task, method, 60)
        errors = []
        for data in _datasets(task, 10):
            context, query = _cut(data, 10)
            drawn = guide.predict(context, {"x": query["x"]}, draws=200)["predictions"]["y"].values[
                0
            ]
            errors.append(np.mean((drawn.mean(0) - query["y"]) ** 2))
        mean_errors[method] = np.mean(errors)
        say(
            f"{method}: mean squared error {mean_errors[method]:.3f} +- "
            f"{np.std(errors) / len(errors) ** 0.5:.3f}"
        )
    assert min(v for n, v in mean_errors.items() if n != "maml") < mean_errors["maml"]


def test_topological_order(say):
    """10 nodes: share of pairs in the right order, beside sorts by variance and by R^2 (Reisach et
    al. 2021, 2023).
    """
    task = ap.model("causal_order")
    method = ap.method("parametric", encoder="second_moments", density="diagonal", hidden=256)
    guide = trained(task, method, 180)
    latents, data = simulated(task, 400, 200)
    truth = np.stack(
        [np.asarray(task.latents.unflatten(jnp.asarray(v))["scores"]) for v in latents]
    )
    tables = data["table"]
    tree = guide.infer(
        [{"table": t} for t in tables], draws=200, predictive=False, log_likelihood=False
    )
    ours = tree["posterior"]["scores"].values[:, 0].mean(1)
    explained = np.stack([1 - 1 / np.diag(np.linalg.inv(np.corrcoef(t.T))) for t in tables])
    guesses = {
        "guide": ours,
        "variance": tables.var(1),
        "R^2": explained,
        "chance": np.random.default_rng(0).normal(size=truth.shape),
    }
    scores = {n: _ordered(g, truth) for n, g in guesses.items()}
    say(
        ", ".join(f"{n} {s.mean():.3f} +- {s.std() / len(s) ** 0.5:.3f}" for n, s in scores.items())
    )
    ahead = scores["guide"] - scores["variance"]
    say(
        f"guide above variance, table by table: {ahead.mean():.3f} +- "
        f"{ahead.std() / len(ahead) ** 0.5:.3f}"
    )
    assert scores["guide"].mean() > max(scores["variance"].mean(), scores["R^2"].mean())


def _ordered(guess, truth):
    first, second = np.triu_indices(truth.shape[1], 1)
    return np.mean((guess[:, first] < guess[:, second]) == (truth[:, first] < truth[:, second]), 1)


def test_predictions_of_a_long_context(cost, say):
    """100 queries at 1000 rows of context, compiled."""
    guide = ap.train(ap.model("linear_regression"), "in_context", steps=1, progress=False)
    _, data = simulated(guide.task, 1, 1100)
    context, new = {n: v[0, :1000] for n, v in data.items()}, {"x": data["x"][0, 1000:]}
    guide.predict(context, new, draws=100)
    with cost() as spent:
        for _ in range(10):
            guide.predict(context, new, draws=100)
    say(f"{100 * spent.cpu:.1f} CPU ms for 100 queries at 1000 rows, everything included")
    assert spent.cpu / 10 <= 0.02


def _datasets(task, rows):
    """Fresh datasets with queries after the rows, as arrays by argument."""
    data = simulated(task, DATASETS, rows + QUERIES)[1]
    return [{n: v[i] for n, v in data.items()} for i in range(DATASETS)]


def _cut(data, rows):
    return {n: v[:rows] for n, v in data.items()}, {n: v[rows:] for n, v in data.items()}


def _gaussian(task, vector, context, query):
    """Log density of new rows given latents and known rows."""
    rows = Batch({n: jnp.asarray(v) for n, v in context.items()}, jnp.ones(len(context["y"]), bool))
    return new_rows(task, vector, rows, query)["y"].log_prob(query["y"])
