"""Density of points in the plane: a mixture of three Gaussians, no inputs.

    w ~ Dirichlet(2, 2, 2),  centre_k ~ N(0, 2^2 I),  spread_k ~ LogNormal(-0.7, 0.4),
    y_i ~ sum_k w_k N(centre_k, spread_k^2 I)

The labels of the components are not identified, so that the regimes that predict suit it: p(y* | y_1..N).
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (10, 200)}

COMPONENTS = 3


def model(n, y=None):
    """n points; y (N, 2) out."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.full(COMPONENTS, 2.0)))
    centres = numpyro.sample("centres", dist.Normal(0, 2).expand([COMPONENTS, 2]).to_event(2))
    spreads = numpyro.sample("spreads", dist.LogNormal(-0.7, 0.4).expand([COMPONENTS]).to_event(1))
    points = dist.Independent(dist.Normal(centres, spreads[:, None]), 1)
    with numpyro.plate("point", n):
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), points), obs=y)
