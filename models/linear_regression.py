"""Linear regression with unknown noise: five covariates, no intercept.

    weights ~ N(0, I),  sigma ~ HalfNormal(1),    y_i ~ N(x_i . weights, sigma^2),  x_i in R^5

Gelman et al. 2013, "Bayesian Data Analysis", third edition, chapter 14.
"""

import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1).expand([5])},
    "rows": (8, 512),
    "dims": {"weights": ["covariate"], "x": ["covariate"]},
}


def model(x, y=None):
    """Covariates x (N, D) in, y (N,) out."""
    weights = numpyro.sample("weights", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ weights, sigma), obs=y)


def exact_posterior(data, key, draws):
    """Independent draws from the posterior: sigma (S,) from a fine grid, then weights (S, D) given
    sigma.

    With X'X = Q diag(spread) Q' and c = Q'X'y, the weights integrate out:

        log p(y | sigma) = -N log sigma + sum_j log(sigma^2 / (sigma^2 + spread_j)) / 2
                           - (y'y - sum_j c_j^2 / (sigma^2 + spread_j)) / (2 sigma^2) + constant
        Q'weights | sigma, y ~ N(c / (sigma^2 + spread), diag(sigma^2 / (sigma^2 + spread)))
    """
    x, y = (np.asarray(data[name], np.float64) for name in ("x", "y"))
    spread, axes = np.linalg.eigh(x.T @ x)
    moment = axes.T @ x.T @ y
    log_sigma = np.linspace(-12.0, 3.0, 2**14)
    variance = np.exp(2 * log_sigma)[:, None]
    shrink = variance / (variance + spread)
    misfit = (y @ y - np.sum(moment**2 / (variance + spread), -1)) / variance[:, 0]
    log_density = (1 - len(y)) * log_sigma + (
        np.sum(np.log(shrink), -1) - misfit - variance[:, 0]
    ) / 2
    cumulative = np.cumsum(np.exp(log_density - log_density.max()))

    place, standard = jr.split(key)
    uniform = np.asarray(jr.uniform(place, (draws,)), np.float64)
    sigma = np.exp(np.interp(uniform * cumulative[-1], cumulative, log_sigma))
    precision = 1 + spread / sigma[:, None] ** 2
    rotated = moment / sigma[:, None] ** 2 / precision + np.asarray(
        jr.normal(standard, precision.shape)
    ) / np.sqrt(precision)
    return {"weights": rotated @ axes.T, "sigma": sigma}
