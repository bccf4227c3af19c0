"""Stochastic volatility: returns whose log variance is an autoregression of its own.

    h_t = mu + phi (h_t-1 - mu) + sigma w_t,  y_t = exp(h_t / 2) e_t,  w_t, e_t ~ N(0, 1)

Kim, Shephard and Chib 1998, "Stochastic volatility: likelihood inference and comparison with ARCH
models", Review of Economic Studies 65.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (100, 500), "ordered": True}


def prior():
    """Mean, persistence and noise of the log variance."""
    numpyro.sample("mu", dist.Normal(0, 1))
    persistent = numpyro.sample("persistent", dist.Beta(20, 1.5))
    numpyro.deterministic("phi", 2 * persistent - 1)
    numpyro.sample("sigma", dist.HalfNormal(0.4))


def simulator(mu, phi, sigma, rows, key):
    """Returns y (N,), begun in the stationary distribution of h."""
    keys = jr.split(key, 3)

    def step(away, noise):
        return (phi * away + sigma * noise,) * 2

    start = sigma / jnp.sqrt(1 - phi**2) * jr.normal(keys[0])
    away = jax.lax.scan(step, start, jr.normal(keys[1], (rows,)))[1]
    return {"y": jnp.exp((mu + away) / 2) * jr.normal(keys[2], (rows,))}
