"""Density of points in the plane: a mixture of three Gaussians, ordered from left to right, no
inputs.

    w ~ Dirichlet(2, 2, 2),  spread_k ~ LogNormal(-0.7, 0.4),  y_i ~ sum_k w_k N(centre_k,
    spread_k^2 I) gaps ~ Dirichlet(1, 1, 1, 1),  height_k ~ N(0, 2^2),  centre_k = (2 Phi^-1(gaps_1
    + .. + gaps_k), height_k)

Sums of such gaps are ordered uniforms (Devroye 1986, "Non-uniform random variate generation",
chapter V), so the centres are draws from N(0, 2^2 I), sorted: unsorted, their labels could be
exchanged and the posterior had six equal modes. Betancourt 2017, "Identifying Bayesian Mixture
Models", Stan case studies.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

COMPONENTS = 3

TASK = {"rows": (10, 200), "likelihood": False}
"""Two components for one cluster, or one for two, are modes of their own: a search finds one of
them, where a flow
taught by data alone holds several. The density still checks every answer."""


def model(n, y=None):
    """n points; y (N, 2) out."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.full(COMPONENTS, 2.0)))
    gaps = numpyro.sample("gaps", dist.Dirichlet(jnp.ones(COMPONENTS + 1)))
    heights = numpyro.sample("heights", dist.Normal(0, 2).expand([COMPONENTS]).to_event(1))
    level = jnp.clip(jnp.cumsum(gaps)[:-1], 1e-6, 1 - 1e-6)  # in float32 a sum can be 1
    centres = numpyro.deterministic(
        "centres", jnp.stack([dist.Normal(0, 2).icdf(level), heights], -1)
    )
    spreads = numpyro.sample("spreads", dist.LogNormal(-0.7, 0.4).expand([COMPONENTS]).to_event(1))
    points = dist.Independent(dist.Normal(centres, spreads[:, None]), 1)
    with numpyro.plate("point", n):
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), points), obs=y)
