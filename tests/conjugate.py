"""Conjugate models, their exact posteriors, and options that compile fast."""

import numpy as np
import numpyro
import numpyro.distributions as dist


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
