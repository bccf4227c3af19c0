"""Logistic regression: a yes or no for each row, five covariates and an intercept.

    intercept ~ N(0, 1),  weights ~ N(0, I),    y_i ~ Bernoulli(logit^-1(intercept + x_i .
    weights)),  x_i in R^5

Gelman et al. 2013, "Bayesian Data Analysis", third edition, chapter 16.
"""

import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1).expand([5])},
    "rows": (8, 512),
    "dims": {"weights": ["covariate"], "x": ["covariate"]},
}


def model(x, y=None):
    """Covariates x (N, D) in, y (N,) of 0 and 1 out."""
    intercept = numpyro.sample("intercept", dist.Normal(0, 1))
    weights = numpyro.sample("weights", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=intercept + x @ weights), obs=y)
