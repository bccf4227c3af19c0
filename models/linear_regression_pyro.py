"""Linear regression with unknown noise, in Pyro: the twin of linear_regression.

    weights ~ N(0, I),  sigma ~ HalfNormal(1),    y_i ~ N(x_i . weights, sigma^2),  x_i in R^5

Gelman et al. 2013, "Bayesian Data Analysis", third edition, chapter 14.
"""

import pyro.distributions as dist
import torch

import pyro

TASK = {
    "inputs": {"x": dist.Normal(0.0, 1.0).expand([5])},
    "rows": (8, 512),
    "dims": {"weights": ["covariate"], "x": ["covariate"]},
}


def model(x, y=None):
    """Covariates x (N, D) in, y (N,) out."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(x.shape[-1]), 1.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("row", x.shape[0]):
        pyro.sample("y", dist.Normal(x @ weights, sigma), obs=y)
