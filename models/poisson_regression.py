"""Poisson regression: a count for each row, five covariates and an intercept on the log scale.

    intercept ~ N(0, 1),  weights ~ N(0, 0.5^2 I),    y_i ~ Poisson(exp(intercept + x_i . weights)),
    x_i in R^5

McCullagh and Nelder 1989, "Generalized Linear Models", second edition, chapter 6.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1).expand([5])},
    "rows": (8, 512),
    "dims": {"weights": ["covariate"], "x": ["covariate"]},
}


def model(x, y=None):
    """Covariates x (N, D) in, counts y (N,) out."""
    intercept = numpyro.sample("intercept", dist.Normal(0, 1))
    weights = numpyro.sample("weights", dist.Normal(0, 0.5).expand([x.shape[-1]]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Poisson(jnp.exp(intercept + x @ weights)), obs=y)
