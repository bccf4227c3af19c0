"""Poisson regression with a normal effect for each row: counts that vary more than Poisson's.

    intercept ~ N(0, 1),  weights ~ N(0, 0.5^2 I),  spread ~ HalfNormal(1)
    effect_i ~ N(0, spread^2),    y_i ~ Poisson(exp(intercept + x_i . weights + effect_i)),  x_i in
    R^3

The effects are local latents: the engine integrates each out of its row's likelihood.

Aitchison and Ho 1989, "The multivariate Poisson-log normal distribution".
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1).expand([3])},
    "rows": (16, 512),
    "dims": {"weights": ["covariate"], "x": ["covariate"]},
}


def model(x, y=None):
    """Covariates x (N, D) in, counts y (N,) out."""
    intercept = numpyro.sample("intercept", dist.Normal(0, 1))
    weights = numpyro.sample("weights", dist.Normal(0, 0.5).expand([x.shape[-1]]).to_event(1))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("row", x.shape[0]):
        effect = numpyro.sample("effect", dist.Normal(0, spread))
        numpyro.sample("y", dist.Poisson(jnp.exp(intercept + x @ weights + effect)), obs=y)
