"""Six tasks of sbibm (Lueckmann et al. 2021, arXiv 2101.04653) as NumPyro models, with its
observations and reference draws, which lie in the package `sbibm` (the path in SBIBM).
"""

import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from amortppl.models import two_moons as moons
from jax.scipy.stats import norm
from numpyro.distributions import constraints
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

import amortppl as ap


def folder(task):
    """The files of one task; None where the package is not there."""
    path = Path(os.environ.get("SBIBM", "sbibm")) / "tasks" / task / "files"
    return path if path.is_dir() else None


def gaussian_linear(y=None):
    theta = numpyro.sample("theta", dist.Normal(0, jnp.sqrt(0.1)).expand([10]).to_event(1))
    numpyro.sample("y", dist.Normal(theta, jnp.sqrt(0.1)).to_event(1), obs=y)


class TwoScales(dist.Distribution):
    """Half N(loc, I), half N(loc, 0.01 I) on R^2."""

    support, pytree_data_fields = constraints.real_vector, ("loc",)

    def __init__(self, loc, *, validate_args=None):
        self.loc = loc
        super().__init__(jnp.shape(loc)[:-1], jnp.shape(loc)[-1:], validate_args=validate_args)

    def sample(self, key, sample_shape=()):
        keys, shape = jr.split(key), sample_shape + jnp.shape(self.loc)
        scale = jnp.where(jr.bernoulli(keys[0], shape=shape[:-1]), 1.0, 0.1)[..., None]
        return self.loc + scale * jr.normal(keys[1], shape)

    def log_prob(self, value):
        each = [jnp.sum(norm.logpdf(value, self.loc, s), -1) for s in (1.0, 0.1)]
        return jnp.logaddexp(*each) - jnp.log(2.0)


def gaussian_mixture(y=None):
    theta = numpyro.sample("theta", dist.Uniform(-10, 10).expand([2]).to_event(1))
    numpyro.sample("y", TwoScales(theta), obs=y)


def slcp(y=None, rows=4):
    theta = numpyro.sample("theta", dist.Uniform(-3, 3).expand([5]).to_event(1))
    s, rho = theta[2:4] ** 2, jnp.tanh(theta[4])
    off = rho * s[0] * s[1]
    cov = jnp.array([[s[0] ** 2 + 1e-6, off], [off, s[1] ** 2 + 1e-6]])
    low = jnp.sqrt(cov[0, 0])
    factor = jnp.array([[low, 0.0], [off / low, jnp.sqrt(cov[1, 1] - off**2 / cov[0, 0])]])
    with numpyro.plate("row", rows):
        numpyro.sample("y", dist.MultivariateNormal(theta[:2], scale_tril=factor), obs=y)


def _glm():
    size = 9
    d = np.eye(size) - np.eye(size, k=-1)
    f = d @ d + np.diag(np.arange(size) / size) ** 0.5
    precision = np.zeros((10, 10))
    precision[0, 0], precision[1:, 1:] = 0.5, f.T @ f
    cov = np.linalg.inv(precision)
    path = folder("bernoulli_glm")
    if path is None:
        return np.linalg.cholesky(cov), np.zeros((100, 10)), np.zeros(100)
    root = Path(os.environ.get("SBIBM_JAX", path.parents[2].parent / "sbibm_jax"))
    files = root / "tasks" / "bernoulli_glm" / "files"
    design, current = (np.load(files / f"{n}.npz") for n in ("design_matrix", "stimulus_I"))
    return np.linalg.cholesky(cov), design[design.files[0]], current[current.files[0]]


GLM_SCALE, GLM_DESIGN, GLM_CURRENT = _glm()


def glm_prior():
    """The prior of bernoulli_glm."""
    scale = jnp.asarray(GLM_SCALE, jnp.float32)
    normal = dist.MultivariateNormal(jnp.zeros(10), scale_tril=scale)
    return numpyro.sample("theta", normal)


def bernoulli_glm(y=None):
    theta = glm_prior()
    logits = jnp.asarray(GLM_DESIGN, jnp.float32) @ theta
    numpyro.sample("y", dist.Bernoulli(logits=logits).to_event(1), obs=y)


def glm_summaries(y):
    """Spikes, and the average of the input before one, nine steps back: (..., 10)."""
    lags = np.array([np.r_[GLM_CURRENT[k:], np.zeros(k)] for k in range(9)])
    lagged = np.array([np.r_[np.zeros(k), GLM_CURRENT[: 100 - k]] for k in range(9)])
    del lags
    return np.concatenate([y.sum(-1, keepdims=True), y @ lagged.T], -1)


def sir_curve(beta, gamma, population=1e6, step=0.25):
    """The share infected at days 0, 17, ..., 153, by Runge-Kutta's fourth order."""

    def slope(state):
        s, i = state
        new = beta * s * i
        return jnp.stack([-new, new - gamma * i])

    def advance(state, _):
        a = slope(state)
        b = slope(state + step / 2 * a)
        c = slope(state + step / 2 * b)
        d = slope(state + step * c)
        after = state + step / 6 * (a + 2 * b + 2 * c + d)
        return after, state[1]

    start = jnp.array([1 - 1 / population, 1 / population])
    infected = jax.lax.scan(advance, start, None, length=int(154 / step))[1]
    return infected[:: int(17 / step)]


def sir(y=None):
    mean, scale = jnp.log(jnp.array([0.4, 0.125])), jnp.array([0.5, 0.2])
    theta = numpyro.sample("theta", dist.LogNormal(mean, scale).to_event(1))
    share = jnp.clip(sir_curve(theta[0], theta[1]), 1e-10, 1 - 1e-7)
    numpyro.sample("y", dist.Binomial(1000, probs=share).to_event(1), obs=y)


MODELS = {
    "two_moons": (moons.model, {"rows": None, "likelihood": False}),
    "slcp": (slcp, {"rows": 4}),
    "gaussian_linear": (gaussian_linear, {"rows": None}),
    "gaussian_mixture": (gaussian_mixture, {"rows": None}),
    "bernoulli_glm": (bernoulli_glm, {"rows": None}),
    "sir": (sir, {"rows": None}),
}


class Observation(NamedTuple):
    """One of sbibm's: as the model takes it, and what simulation-based methods see."""

    model: np.ndarray
    seen: np.ndarray
    reference: np.ndarray


def observation(name, number):
    """An observation by its number, 1 to 10, and 10,000 reference draws."""
    path = folder(name) / f"num_observation_{number}"
    read = lambda n: pd.read_csv(path / n).to_numpy(np.float32)  # noqa: E731
    seen = read("observation.csv")[0]
    model = read("observation_raw.csv")[0] if name == "bernoulli_glm" else seen
    model = seen.reshape(4, 2) if name == "slcp" else model
    return Observation(model, seen, read("reference_posterior_samples.csv.bz2"))


def task_of(name, **changes):
    """The task with its likelihood where there is one."""
    model, settings = MODELS[name]
    return ap.Task(model, name=name, **{**settings, **changes})


def simulations(name, count, seed):
    """Latents (M, P) and what simulation-based methods see of the data (M, ...)."""
    task = task_of(name)
    rows = 4 if name == "slcp" else 1
    draws = jax.jit(jax.vmap(lambda k: task.simulate(k, rows)))(jr.split(jr.key(seed), count))
    theta = jax.jit(jax.vmap(lambda v, d: task.constrain(v, d)["theta"]))(draws.latents, draws.data)
    y = np.asarray(draws.data["y"])
    y = y if name == "slcp" else y[:, 0]
    return np.asarray(theta), glm_summaries(y) if name == "bernoulli_glm" else y


SUPPORTS = {
    "two_moons": constraints.interval(-1, 1),
    "slcp": constraints.interval(-3, 3),
    "gaussian_mixture": constraints.interval(-10, 10),
    "sir": constraints.positive,
}


def stored_task(name, count, seed):
    """A task of so many simulations, with which everything is learned and stopped."""
    theta, y = simulations(name, count, seed)
    support = constraints.independent(SUPPORTS.get(name, constraints.real), 1)
    rows = 4 if name == "slcp" else None
    given = {"supports": {"theta": support}, "name": name}
    return ap.Task.from_simulations({"theta": theta}, {"y": y}, rows, **given)


def seen(name, number):
    """The observation as `stored_task` takes it."""
    one = observation(name, number)
    return one.model if name == "slcp" else one.seen


def c2st(draws, reference, folds=5):
    """sbibm's classifier test: accuracy of a perceptron of two layers of 10 units a dimension."""
    centre, spread = draws.mean(0), draws.std(0, ddof=1)
    points = (np.concatenate([draws, reference]) - centre) / spread
    label, size = np.repeat([0.0, 1.0], [len(draws), len(reference)]), 10 * draws.shape[1]
    classifier = MLPClassifier((size, size), max_iter=10_000, random_state=1)
    cut = KFold(n_splits=folds, shuffle=True, random_state=1)
    return float(np.mean(cross_val_score(classifier, points, label, cv=cut)))
