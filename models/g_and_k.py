"""g-and-k: a distribution given by its quantile function, with skewness g and heavy tails k.

    y_i = a + b (1 + 0.8 tanh(g z_i / 2)) (1 + z_i^2)^k z_i,  z_i ~ N(0, 1)

Haynes, MacGillivray and Mengersen 1997, "Robustness of ranking and selection rules using
generalised g-and-k distributions", Journal of Statistical Planning and Inference 65.
"""

import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (50, 500)}


def prior():
    """Location, scale, skewness, weight of the tails."""
    numpyro.sample("a", dist.Normal(0, 1))
    numpyro.sample("b", dist.LogNormal(0, 0.5))
    numpyro.sample("g", dist.Normal(0, 1))
    numpyro.sample("k", dist.HalfNormal(0.3))


def simulator(a, b, g, k, rows, key):
    """Numbers y (N,)."""
    z = jr.normal(key, (rows,))
    return {"y": a + b * (1 + 0.8 * jnp.tanh(g * z / 2)) * (1 + z**2) ** k * z}
