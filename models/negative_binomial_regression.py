"""Negative binomial regression: counts that vary more than Poisson's, five covariates and an
intercept.

    intercept ~ N(0, 1),  weights ~ N(0, 0.5^2 I),  concentration ~ Gamma(2, 0.5)
    y_i ~ NegativeBinomial(mean m_i, variance m_i + m_i^2 / concentration),  log m_i = intercept +
    x_i . weights

Hilbe 2011, "Negative Binomial Regression", second edition, chapter 8 (the form NB2).
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
    concentration = numpyro.sample("concentration", dist.Gamma(2, 0.5))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample(
            "y",
            dist.NegativeBinomial2(jnp.exp(intercept + x @ weights), concentration),
            obs=y,
        )
