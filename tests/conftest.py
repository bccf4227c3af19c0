"""Tiny guides, trained once for all tests. Compiling is most of what they cost."""

from pathlib import Path

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap

BENCHMARKS = Path(__file__).parent / "benchmarks"


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than about 20 s")
    # Nearly all of the suite's time is XLA compiling programs that then run for milliseconds.
    jax.config.update("jax_disable_most_optimizations", True)
    if config.cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_ignore_collect(collection_path, config):
    """Benchmarks run only when they are named on the command line."""
    named = [Path(config.invocation_params.dir, str(a).split("::")[0]).resolve() for a in config.args]
    asked = any(n == BENCHMARKS or BENCHMARKS in n.parents for n in named)
    if collection_path == BENCHMARKS and not asked:
        return True
    return None


def mean_model(rows, y=None):
    """mu ~ N(0, 2^2), y_i ~ N(mu, 1): conjugate."""
    mu = numpyro.sample("mu", dist.Normal(0, 2))
    with numpyro.plate("obs", rows):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def line_model(x, y=None):
    """Two covariates, unit noise: conjugate, a correlated posterior."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    numpyro.deterministic("w_sum", w.sum())
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 1), obs=y)


def mean_posterior(y):
    """Exact mean and sd of `mean_model`."""
    precision = 1 / 4 + len(y)
    return np.sum(y) / precision, precision**-0.5


def line_posterior(x, y):
    """Exact mean and covariance of `line_model`."""
    covariance = np.linalg.inv(np.eye(x.shape[1]) + x.T @ x)
    return covariance @ x.T @ y, covariance


SMALL = {"width": 8, "hidden": 16, "newton": 4, "sweeps": 1, "density": "gaussian"}
"""Options of the parametric method that compile fast."""


@pytest.fixture(scope="session")
def mean_task():
    """One latent, rows 4 to 32."""
    return ap.Task(mean_model, rows=(4, 32))


@pytest.fixture(scope="session")
def mean_guide(mean_task):
    """A guide of `mean_model`, nearly exact from its first step because the model is conjugate."""
    return ap.train(mean_task, ap.method("parametric", **SMALL), steps=50, batch=16, progress=False)


@pytest.fixture(scope="session")
def line_task():
    """A vector latent, one input of two covariates, rows 4 to 32."""
    dims = {"w": ["covariate"], "x": ["covariate"]}
    inputs = {"x": dist.Normal(0, 1).expand([2])}
    return ap.Task(line_model, inputs, rows=(4, 32), dims=dims, coords={"covariate": ["age", "dose"]})


@pytest.fixture(scope="session")
def line_guide(line_task):
    """A guide of `line_model`."""
    return ap.train(line_task, ap.method("parametric", **SMALL), steps=50, batch=16, progress=False)


@pytest.fixture(scope="session")
def line_data():
    """20 rows of `line_model`."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 2))
    return {"x": x, "y": x @ [0.5, -1.0] + rng.standard_normal(20)}
