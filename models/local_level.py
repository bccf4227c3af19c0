"""Local level: a random walk seen with noise.

    level_t = level_t-1 + sigma_level w_t,  y_t = level_t + sigma_noise e_t,  level_0 = 0

Harvey 1989, "Forecasting, structural time series models and the Kalman filter".
"""

import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (50, 500), "ordered": True}


def prior():
    """Standard deviations of a step and of the noise."""
    numpyro.sample("sigma_level", dist.HalfNormal(1))
    numpyro.sample("sigma_noise", dist.HalfNormal(1))


def simulator(sigma_level, sigma_noise, rows, key):
    """A series y (N,)."""
    steps, noise = jr.normal(key, (2, rows))
    return {"y": jnp.cumsum(sigma_level * steps) + sigma_noise * noise}
