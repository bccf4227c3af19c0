"""One guide for series of 50 to 5,000 rows, trained on those of 50 to 200: against the exact
posterior, in mini-batches of 100 beside the whole, and the log score of its forecasts.

    SECONDS=60 uv run pytest tests/benchmarks/test_series_streams.py -n0 -s

The exact posterior of an AR(2) is by importance sampling: 200,000 draws of a Student t about the
mode, whose weights come from the series' cross products.
"""

import os

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from scipy import optimize, stats
from scipy.special import logsumexp

import amortppl as ap
from benchmarks.budget import trained
from benchmarks.test_series import garch

SECONDS = float(os.environ.get("SECONDS", "60"))
LENGTHS = [int(n) for n in os.environ.get("LENGTHS", "50,200,1000,5000").split(",")]
LONGEST = int(os.environ.get("LONGEST", "200"))
STEPS, DATASETS, DRAWS = 12, int(os.environ.get("DATASETS", "4")), 4000
METHODS = os.environ.get("METHODS", "laplace,parametric").split(",")


def autoregression(rows, y=None):
    partial = numpyro.sample("partial", dist.Uniform(-1, 1).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    w = jnp.stack([partial[0] * (1 - partial[1]), partial[1]])

    def step(last, seen):
        value = numpyro.sample("y", dist.Normal(w @ last, sigma), obs=seen)
        return jnp.stack([value, last[0]]), None

    scan(step, jnp.zeros(2), y, length=rows)


def vectors_of(sites):
    """(logit of (1 + partial) / 2, log sigma), (S, 3)."""
    partial, sigma = np.reshape(sites["partial"], (-1, 2)), np.ravel(sites["sigma"])
    return np.column_stack([np.log1p(partial) - np.log1p(-partial), np.log(sigma)])


def log_joint(v, y):
    """Of unconstrained vectors (S, 3)."""
    r, log_sigma = np.tanh(v[:, :2] / 2), v[:, 2]
    w = np.column_stack([r[:, 0] * (1 - r[:, 1]), r[:, 1]])
    before = np.append(np.zeros(2), y)
    table = np.stack([y, before[1:-1], before[:-2]])
    products = table @ table.T
    signs = np.column_stack([np.ones(len(w)), -w])
    squares = np.einsum("si,ij,sj->s", signs, products, signs)
    like = -len(y) * log_sigma - 0.5 * squares * np.exp(-2 * log_sigma)
    prior = np.log1p(-(r**2)).sum(1) - 0.5 * np.exp(2 * log_sigma) + log_sigma
    return like + prior


def exact_draws(y):
    """Vectors (S, 3), their normalized weights, and the number of draws that these are worth."""
    down = lambda v: -log_joint(v[None], y)[0]  # noqa: E731
    mode = optimize.minimize(down, np.zeros(3), method="Nelder-Mead", options={"maxiter": 4000}).x
    step = 1e-3 * np.eye(3)
    moved = np.array(
        [[down(mode + a + b) - down(mode + a - b) for b in step] for a in (*step, *-step)]
    )
    curvature = (moved[:3] - moved[3:]) / 4e-6
    proposal = stats.multivariate_t(mode, 1.5 * np.linalg.inv(curvature), df=5, seed=0)
    v = proposal.rvs(200_000)
    log_weight = log_joint(v, y) - proposal.logpdf(v)
    weight = np.exp(log_weight - logsumexp(log_weight))
    return v, weight, 1 / np.sum(weight**2)


def exact_scores(v, weight, past, future):
    """log p(y_N+h | y_1..N) of each horizon."""
    r, sigma = np.tanh(v[:, :2] / 2), np.exp(v[:, 2])
    turn = np.zeros((len(v), 2, 2))
    turn[:, 0], turn[:, 1, 0] = np.column_stack([r[:, 0] * (1 - r[:, 1]), r[:, 1]]), 1
    mean, spread, scores = np.tile(past[:-3:-1], (len(v), 1)), np.zeros((len(v), 2, 2)), []
    for value in future:
        mean = np.einsum("sij,sj->si", turn, mean)
        spread = turn @ spread @ turn.transpose(0, 2, 1)
        spread[:, 0, 0] += sigma**2
        each = stats.norm.logpdf(value, mean[:, 0], np.sqrt(spread[:, 0, 0]))
        scores.append(logsumexp(each, b=weight))
    return np.array(scores)


def series(rows, number):
    """A stationary series begun at zeros, and what comes after it."""
    rng = np.random.default_rng(1000 * rows + number)
    r, sigma = rng.uniform(-0.95, 0.95, 2), 0.3 + abs(rng.normal())
    w, y = np.array([r[0] * (1 - r[1]), r[1]]), np.zeros(2 + rows + STEPS)
    for t in range(2, len(y)):
        y[t] = w @ y[t - 1 : t - 3 if t > 2 else None : -1] + sigma * rng.normal()
    return np.split(y[2:].astype(np.float32), [rows])


def guide_of(model, method, rows):
    task = ap.Task(model, rows=rows)
    if method == "laplace":
        return ap.train(task, "laplace", progress=False)
    return trained(task, method, SECONDS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", METHODS)
def test_an_autoregression_of_any_length(method, cost, say):
    with cost() as spent:
        guide = guide_of(autoregression, method, (50, LONGEST))
    say(f"AR(2), {method}: ready in {spent.cpu:.0f} CPU s")
    for rows in LENGTHS:
        off, ratio, score, khat, apart = [], [], [], [], {1: [], 2: []}
        for number in range(DATASETS):
            past, future = series(rows, number)
            v, weight, worth = exact_draws(past.astype(float))
            assert worth > 20_000
            centre = weight @ v
            sd = np.sqrt(weight @ (v - centre) ** 2)
            post = guide.infer({"y": past}, draws=DRAWS, predictive=False)
            own = vectors_of({n: post.posterior[n].values for n in ("partial", "sigma")})
            off.append(np.abs((own.mean(0) - centre) / sd).max())
            ratio.append(own.std(0) / sd)
            khat.append(float(post.sample_stats["khat"]))
            ours = guide.log_predictive({"y": past}, {"y": future}, draws=DRAWS)
            score.append(np.mean(ours - exact_scores(v, weight, past, future)))
            if rows > 100:
                whole = guide.step(guide.init(), {"y": past})
                of_whole = draws_of(guide, whole)
                for passes in (1,) if method == "laplace" else (1, 2):
                    batches = ap.batches({"y": past}, size=100)
                    *_, state = guide.stream(batches, passes=passes, progress=False)
                    apart[passes].append(difference(draws_of(guide, state), of_whole))
        told = "; ".join(f"{p} passes {np.round(a, 3)}" for p, a in apart.items() if a)
        say(
            f"  {rows} rows, {DATASETS} series: means off {np.round(off, 3)} sd, sd ratio "
            f"{np.min(ratio):.3f} to {np.max(ratio):.3f}, k-hat {np.round(khat, 2)}, log score off "
            f"{np.round(score, 4)} nats, mini-batches against the whole (means in sd) {told}"
        )


def draws_of(guide, state):
    return np.asarray(guide.posterior(state).sample(jr.key(0), DRAWS)[0])


def difference(draws, of_whole):
    """The largest of a mean, in sds: the draws use the same random numbers."""
    return float(np.abs((draws.mean(0) - of_whole.mean(0)) / of_whole.std(0)).max())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", METHODS)
def test_garch_carries_its_variance(method, cost, say):
    with cost() as spent:
        guide = guide_of(garch, method, (100, max(LONGEST, 100)))
    say(f"GARCH, {method}: ready in {spent.cpu:.0f} CPU s")
    for number in range(DATASETS):
        rng, y, variance = np.random.default_rng(number), [], 1.0
        for _ in range(1000):
            y.append(0.5 + np.sqrt(variance) * rng.normal())
            variance = 0.3 + 0.3 * (y[-1] - 0.5) ** 2 + 0.4 * variance
        y = np.array(y, np.float32)
        whole = guide.step(guide.init(), {"y": y})
        told = []
        for passes in (1,) if method == "laplace" else (1, 2):
            *_, state = guide.stream(ap.batches({"y": y}, size=100), passes=passes, progress=False)
            apart = difference(draws_of(guide, state), draws_of(guide, whole))
            told.append(f"{passes} passes {apart:.3f} sd, {state.lead} rows carried")
        say(f"  1,000 returns, series {number}: {'; '.join(told)}")
