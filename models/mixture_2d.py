"""Density in two dimensions: a mixture of three round Gaussians, observations alone.

    weights ~ Dirichlet(2, 2, 2),  centre_k ~ N(0, 2^2 I),  spread_k ~ LogNormal(-0.7, 0.3)
    y_i ~ sum_k weights_k N(centre_k, spread_k^2 I),  y_i in R^2

Bishop 2006, "Pattern Recognition and Machine Learning", chapter 9.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (8, 256)}

PARTS = 3


def model(n, y=None):
    """n rows; y (N, 2) out."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.full(PARTS, 2.0)))
    centres = numpyro.sample("centres", dist.Normal(0, 2).expand([PARTS, 2]).to_event(2))
    spread = numpyro.sample("spread", dist.LogNormal(-0.7, 0.3).expand([PARTS]).to_event(1))
    parts = dist.Independent(dist.Normal(centres, spread[:, None]), 1)
    with numpyro.plate("row", n):
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), parts), obs=y)
