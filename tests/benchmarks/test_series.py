"""Series against long NUTS: an autoregression, GARCH, a hidden Markov model, a Gaussian process.

    CASES=ark,garch uv run pytest tests/benchmarks/test_series.py -n0 -s

The models are those of posteriordb (`arK`, `garch11`, `hmm_example`, `gp_regr`), with proper priors
where it has none, on data drawn from them; rows before the first are zero or the stationary
variance. `z` is the error of a posterior mean in NUTS's sds, the worst of all latents.
Magnusson et al. 2024, "posteriordb: Testing, benchmarking and developing Bayesian inference
algorithms", arXiv 2407.04967.
"""

import os

import jax
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

CASES = os.environ.get("CASES", "ark,garch,hmm,gp").split(",")
LAGS = 5


def ark(rows, y=None):
    alpha = numpyro.sample("alpha", dist.Normal(0, 10))
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([LAGS]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))

    def step(last, seen):
        value = numpyro.sample("y", dist.Normal(alpha + beta @ last, sigma), obs=seen)
        return jnp.append(value, last[:-1]), None

    scan(step, jnp.zeros(LAGS), y, length=rows)


def ark_lagged(rows, y):
    """The same in one line, for NUTS."""
    alpha = numpyro.sample("alpha", dist.Normal(0, 10))
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([LAGS]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    before = jnp.append(jnp.zeros(LAGS), y)
    mean = alpha + sum(beta[k] * before[LAGS - 1 - k : LAGS - 1 - k + rows] for k in range(LAGS))
    numpyro.sample("y", dist.Normal(mean, sigma), obs=y)


def garch(rows, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 5))
    omega = numpyro.sample("omega", dist.HalfNormal(2))
    alpha = numpyro.sample("alpha", dist.Uniform(0, 1))
    share = numpyro.sample("share", dist.Uniform(0, 1))
    beta = numpyro.deterministic("beta", share * (1 - alpha))

    def step(variance, seen):
        value = numpyro.sample("y", dist.Normal(mean, jnp.sqrt(variance)), obs=seen)
        return omega + alpha * (value - mean) ** 2 + beta * variance, None

    scan(step, 1.0, y, length=rows)


def hmm(rows, y=None):
    stay = numpyro.sample("stay", dist.Beta(2, 2).expand([2]).to_event(1))
    level = numpyro.sample("level", dist.Normal(jnp.array([3.0, 10.0]), 1.0).to_event(1))
    turn = jnp.stack([jnp.stack([stay[0], 1 - stay[0]]), jnp.stack([1 - stay[1], stay[1]])])

    def step(state, seen):
        state = numpyro.sample("z", dist.Categorical(turn[state]), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(level[state], 2.0), obs=seen)
        return state, None

    scan(step, 0, y, length=rows)


def hmm_forward(rows, y):
    """The same with the states summed out by hand, for NUTS."""
    stay = numpyro.sample("stay", dist.Beta(2, 2).expand([2]).to_event(1))
    level = numpyro.sample("level", dist.Normal(jnp.array([3.0, 10.0]), 1.0).to_event(1))
    turn = jnp.log(
        jnp.stack([jnp.stack([stay[0], 1 - stay[0]]), jnp.stack([1 - stay[1], stay[1]])])
    )
    like = dist.Normal(level, 2.0).log_prob(y[:, None])

    def step(message, own):
        return jax.nn.logsumexp(message[:, None] + turn, 0) + own, None

    message = jax.lax.scan(step, turn[0] + like[0], like[1:])[0]
    numpyro.factor("likelihood", jax.nn.logsumexp(message))


def gp(x, y=None):
    rho = numpyro.sample("rho", dist.Gamma(25, 4))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    kernel = jnp.exp(-0.5 * ((x[:, None] - x) / rho) ** 2)
    covariance = alpha**2 * kernel + (sigma**2 + 1e-4) * jnp.eye(len(x))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance), obs=y)


MODELS = {"ark": ark, "garch": garch, "hmm": hmm, "gp": gp}
FOR_NUTS = {"ark": ark_lagged, "hmm": hmm_forward}


def data_of(name):
    """One dataset by argument."""
    rng = np.random.default_rng(11)
    if name == "ark":
        beta, y = np.array([0.5, 0.2, -0.1, 0.1, 0.05]), np.zeros(LAGS + 200)
        for t in range(LAGS, len(y)):
            y[t] = (
                0.3 + beta @ y[t - 1 : t - LAGS - 1 if t > LAGS else None : -1] + 0.5 * rng.normal()
            )
        return {"y": y[LAGS:].astype(np.float32)}
    if name == "garch":
        y, variance = [], 1.0
        for _ in range(200):
            y.append(0.5 + np.sqrt(variance) * rng.normal())
            variance = 0.4 + 0.35 * (y[-1] - 0.5) ** 2 + 0.4 * variance
        return {"y": np.array(y, np.float32)}
    if name == "hmm":
        state, y = 0, []
        for _ in range(100):
            state = state if rng.uniform() < (0.8, 0.7)[state] else 1 - state
            y.append((3.2, 9.0)[state] + 2 * rng.normal())
        return {"y": np.array(y, np.float32)}
    x = np.linspace(-10, 10, 11)
    covariance = 9 * np.exp(-0.5 * ((x[:, None] - x) / 5.5) ** 2) + 0.25 * np.eye(11)
    y = np.linalg.cholesky(covariance) @ rng.normal(size=11)
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def long_nuts(name, data):
    """20,000 draws by site, and the fewest effective ones."""
    model = FOR_NUTS.get(name, MODELS[name])
    size = {} if name == "gp" else {"rows": len(data["y"])}
    start = init_to_median()
    kernel = NUTS(model, target_accept_prob=0.95, dense_mass=True, init_strategy=start)
    chains = {"num_chains": 4, "chain_method": "vectorized", "progress_bar": False}
    sampler = MCMC(kernel, num_warmup=1000, num_samples=5000, **chains)
    sampler.run(jr.key(0), **size, **{n: jnp.asarray(v) for n, v in data.items()})
    told = summary(
        {n: v for n, v in sampler.get_samples(True).items() if n != "beta" or name == "ark"}
    )
    least = min(np.min(v["n_eff"]) for v in told.values())
    return {n: np.asarray(v) for n, v in sampler.get_samples().items()}, least


def line(name, way, post, exact, cpu):
    """A row of results, and the worst errors."""
    own = {
        n: np.asarray(v.values).reshape(-1, *v.shape[2:])
        for n, v in post.posterior.data_vars.items()
    }
    same = [n for n in own if n in exact]
    z = np.concatenate(
        [np.ravel((own[n].mean(0) - exact[n].mean(0)) / exact[n].std(0)) for n in same]
    )
    ratio = np.concatenate([np.ravel(own[n].std(0) / exact[n].std(0)) for n in same])
    stats = post.sample_stats
    return (
        f"{name} {way}: z {np.abs(z).max():.3f}, sd ratio {ratio.min():.3f} to {ratio.max():.3f}, "
        f"k-hat {float(stats['khat']):.2f}, source {stats['source'].values}, "
        f"reliable {bool(stats['reliable'])}, {cpu:.1f} CPU s"
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_series_beside_nuts(name, cost, say):
    data = data_of(name)
    with cost() as spent:
        exact, least = long_nuts(name, data)
    say(f"{name} NUTS: 20,000 draws worth {least:.0f}, {spent.cpu:.1f} CPU s")
    with cost() as spent:
        post = ap.fit(MODELS[name], data, draws=4000, predictive=False)
    say(line(name, "fit", post, exact, spent.cpu))
