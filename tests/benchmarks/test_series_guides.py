"""Trained guides of series against NUTS: GARCH, a hidden Markov model, a Gaussian process, AR(5).

    CASES=garch,hmm SECONDS=60 SERIES=3 uv run pytest tests/benchmarks/test_series_guides.py -n0 -s

The models of `tests/benchmarks/test_series.py`, but that AR(5) has coefficients from N(0, 0.2), by
which nearly all series are stationary: under posteriordb's N(0, 10) simulations overflow. One guide
a model, trained for so many CPU seconds, compilation included, answers data of that file and
further series; `laplace`, which is not trained, stands beside it. Off is the worst error of a
posterior mean in NUTS's sds, by plain draws and by the draws' weights.
"""

import os

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from numpyro.diagnostics import summary
from numpyro.infer import MCMC, NUTS, init_to_median

import amortppl as ap
from benchmarks.budget import trained
from benchmarks.test_series import FOR_NUTS, LAGS, data_of, garch, gp, hmm

CASES = os.environ.get("CASES", "garch,hmm,gp,ark").split(",")
SECONDS, SERIES = float(os.environ.get("SECONDS", 60)), int(os.environ.get("SERIES", 3))
DRAWS = 4000


def ark(rows, y=None):
    """AR(5) under a prior by which series can be simulated."""
    alpha = numpyro.sample("alpha", dist.Normal(0, 1))
    beta = numpyro.sample("beta", dist.Normal(0, 0.2).expand([LAGS]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))

    def step(last, seen):
        value = numpyro.sample("y", dist.Normal(alpha + beta @ last, sigma), obs=seen)
        return jnp.append(value, last[:-1]), None

    scan(step, jnp.zeros(LAGS), y, length=rows)


def gp_block(y=None):
    return gp(jnp.linspace(-10, 10, 11), y)


MODELS = {"garch": garch, "hmm": hmm, "gp": gp_block, "ark": ark}


def of_ark(rng):
    beta, y = np.array([0.5, 0.2, -0.1, 0.1, 0.05]), np.zeros(LAGS + 200)
    beta = beta * rng.uniform(0.3, 1.0)
    for t in range(LAGS, len(y)):
        y[t] = 0.3 + beta @ y[t - LAGS : t][::-1] + 0.7 * rng.normal()
    return {"y": y[LAGS:].astype(np.float32)}


def of_garch(rng):
    (omega, alpha, beta), variance = rng.uniform((0.2, 0.15, 0.2), (0.8, 0.45, 0.5)), 1.0
    y = []
    for _ in range(200):
        y.append(0.5 + np.sqrt(variance) * rng.normal())
        variance = omega + alpha * (y[-1] - 0.5) ** 2 + beta * variance
    return {"y": np.array(y, np.float32)}


def of_hmm(rng):
    stay, level, state = rng.uniform(0.6, 0.9, 2), (3, 10) + 0.7 * rng.normal(size=2), 0
    y = []
    for _ in range(100):
        state = state if rng.uniform() < stay[state] else 1 - state
        y.append(level[state] + 2 * rng.normal())
    return {"y": np.array(y, np.float32)}


def of_gp(rng):
    x, (rho, alpha, sigma) = np.linspace(-10, 10, 11), rng.uniform((4.5, 1, 0.3), (8, 3, 0.8))
    kernel = np.exp(-0.5 * ((x[:, None] - x) / rho) ** 2)
    factor = np.linalg.cholesky(alpha**2 * kernel + sigma**2 * np.eye(11))
    return {"y": (factor @ rng.normal(size=11)).astype(np.float32)}


def series_of(name):
    """The benchmark's own dataset, and further ones."""
    rng = np.random.default_rng(21)
    further = {"ark": of_ark, "garch": of_garch, "hmm": of_hmm, "gp": of_gp}[name]
    return [{"y": data_of(name)["y"]}, *(further(rng) for _ in range(SERIES - 1))]


def by_nuts(name, data, seed):
    """8,000 draws by site, and the fewest effective ones."""
    model = FOR_NUTS.get(name, MODELS[name]) if name == "hmm" else MODELS[name]
    kernel = NUTS(model, target_accept_prob=0.95, dense_mass=True, init_strategy=init_to_median())
    chains = {"num_chains": 4, "chain_method": "vectorized", "progress_bar": False}
    sampler = MCMC(kernel, num_warmup=800, num_samples=2000, **chains)
    size = () if name == "gp" else (len(data["y"]),)
    sampler.run(jr.key(seed), *size, y=jnp.asarray(data["y"]))
    moving = {n: v for n, v in sampler.get_samples(True).items() if n != "beta" or name != "garch"}
    worth = min(np.min(v["n_eff"]) for v in summary(moving).values())
    return {n: np.asarray(v) for n, v in sampler.get_samples().items()}, worth


def line(post, exact):
    """Worst mean, by plain and by weighted draws, ratios of sds, and the verdict."""
    stats, drawn = post.sample_stats, post.posterior.data_vars
    own = {
        n: v.values.reshape(DRAWS, -1) for n, v in drawn.items() if n in exact
    }  # a deterministic site of one model may lack in NUTS's
    right = {n: exact[n].reshape(len(exact[n]), -1) for n in own}
    weights = np.exp(stats["log_weight"].values.ravel())
    off = np.concatenate([(own[n].mean(0) - right[n].mean(0)) / right[n].std(0) for n in own])
    weighted = np.concatenate(
        [(weights @ own[n] / weights.sum() - right[n].mean(0)) / right[n].std(0) for n in own]
    )
    ratio = np.concatenate([own[n].std(0) / right[n].std(0) for n in own])
    source = str(stats["source"].values) if "source" in stats else "plain"
    return (
        f"off {np.abs(off).max():.3f}, weighted {np.abs(weighted).max():.3f}, sd ratio "
        f"{ratio.min():.3f} to {ratio.max():.3f}, k-hat {float(stats['khat']):.2f}, {source}, "
        f"reliable {bool(stats['reliable'])}"
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_guides_of_series_beside_nuts(name, cost, say):
    every, rows = series_of(name), len(data_of(name)["y"])
    with cost() as spent:
        size = {"gp": None, "hmm": (rows // 2, rows)}.get(name, (rows, rows))
        task = ap.Task(MODELS[name], rows=size)
        guide = trained(task, "parametric", SECONDS)
    say(f"{name}: {guide.record.steps} updates, {spent.cpu:.0f} CPU s with the task")
    start = ap.train(task, "laplace", progress=False)
    options = {"draws": DRAWS, "predictive": False, "log_likelihood": False}
    for number, data in enumerate(every):
        with cost() as spent:
            exact, worth = by_nuts(name, data, number)
        say(f"{name} {number}: NUTS's 8,000 draws are worth {worth:.0f}, {spent.cpu:.0f} CPU s")
        say(f"{name} {number} laplace: {line(start.infer(data, **options), exact)}")
        post = guide.infer(data, **options)
        say(f"{name} {number} guide: {line(post, exact)}")
        if not bool(post.sample_stats["reliable"]):
            post = guide.infer(data, **options, trust="ladder")
            say(f"{name} {number} guide, ladder: {line(post, exact)}")
