"""Linear regression with known noise, conjugate, in as many dimensions as its covariates have.

    weights ~ N(0, I),    y_i ~ N(x_i . weights, 0.7^2),  x_i in R^D
    weights | y ~ N(S X'y / 0.7^2, S),    S = (I + X'X / 0.7^2)^-1

D is 5; `ap.model("known_noise_regression", inputs={"x": dist.Normal(0, 1).expand([100])})` has 100.
Gelman et al. 2013, "Bayesian Data Analysis", third edition, chapter 14.
"""

import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist

NOISE = 0.7

TASK = {
    "inputs": {"x": dist.Normal(0, 1).expand([5])},
    "rows": (16, 320),
    "dims": {"weights": ["covariate"], "x": ["covariate"]},
}


def model(x, y=None):
    """Covariates x (N, D) in, y (N,) out."""
    weights = numpyro.sample("weights", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ weights, NOISE), obs=y)


def exact_posterior(data, key, draws):
    """Independent draws from the conjugate posterior: weights (S, D)."""
    x, y = (np.asarray(data[name], np.float64) for name in ("x", "y"))
    covariance = np.linalg.inv(np.eye(x.shape[1]) + x.T @ x / NOISE**2)
    standard = np.asarray(jr.normal(key, (draws, x.shape[1])), np.float64)
    mean = covariance @ (x.T @ y) / NOISE**2
    return {"weights": mean + standard @ np.linalg.cholesky(covariance).T}
