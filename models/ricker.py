"""Ricker: a population that grows fast and crashes, counted with error.

    log N_t = log r + log N_t-1 - N_t-1 + sigma e_t,  e_t ~ N(0, 1)
    y_t ~ Poisson(phi N_t),  t = 1..N, after 50 years unseen

Wood 2010, "Statistical inference for noisy nonlinear ecological dynamic systems", Nature 466.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (30, 100), "ordered": True}

UNSEEN = 50


def prior():
    """Growth, its noise, and counts an animal."""
    numpyro.sample("log_r", dist.Normal(3.8, 0.5))
    numpyro.sample("sigma", dist.Uniform(0, 0.8))
    numpyro.sample("phi", dist.LogNormal(jnp.log(10.0), 0.3))


def simulator(log_r, sigma, phi, rows, key):
    """Counts y (N,), in the order of the years."""
    keys = jr.split(key)

    def year(log_size, noise):
        grown = log_r + log_size - jnp.exp(log_size) + sigma * noise
        return grown, grown

    path = jax.lax.scan(year, jnp.zeros(()), jr.normal(keys[0], (UNSEEN + rows,)))[1]
    return {"y": jr.poisson(keys[1], phi * jnp.exp(path[UNSEEN:]))}
