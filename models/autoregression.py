"""AR(2): a stationary series whose next value depends on the last two.

    y_t = w_1 y_t-1 + w_2 y_t-2 + sigma e_t,  e_t ~ N(0, 1)
    w_2 = r_2,  w_1 = r_1 (1 - r_2),  r_1, r_2 ~ U(-1, 1)

The partial autocorrelations r are free in (-1, 1), and every stationary series has some:
Barndorff-Nielsen and Schou 1973, "On the parametrization of autoregressive models by partial
autocorrelations", Journal of Multivariate Analysis 3.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (50, 500), "ordered": True}


def prior():
    """Partial autocorrelations and the sd of the noise."""
    partial = numpyro.sample("partial", dist.Uniform(-1, 1).expand([2]).to_event(1))
    numpyro.sample("sigma", dist.HalfNormal(1))
    weights = jnp.stack([partial[0] * (1 - partial[1]), partial[1]])
    numpyro.deterministic("weights", weights)


def simulator(partial, weights, sigma, rows, key):
    """A series y (N,), begun in its stationary distribution.

    Of this the variance is sigma^2 / ((1 - r_1^2) (1 - r_2^2)) and the first correlation r_1.
    """
    keys = jr.split(key)
    sd = sigma / jnp.sqrt(jnp.prod(1 - partial**2))
    first = sd * jr.normal(keys[0], (2,))
    start = jnp.stack([partial[0] * first[1] + jnp.sqrt(1 - partial[0] ** 2) * first[0], first[1]])

    def step(last, noise):
        value = weights @ last + sigma * noise
        return jnp.stack([value, last[0]]), value

    return {"y": jax.lax.scan(step, start, jr.normal(keys[1], (rows,)))[1]}
