"""GARCH(1, 1): returns whose variance follows their own squares.

    y_t = s_t e_t,  s_t^2 = omega + alpha y_t-1^2 + beta s_t-1^2,  e_t ~ N(0, 1)
    alpha = persistence share,  beta = persistence (1 - share),  omega = level (1 - persistence)

`level` is the long-run variance. Bollerslev 1986, "Generalized autoregressive conditional
heteroskedasticity", Journal of Econometrics 31.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (100, 500), "ordered": True}


def prior():
    """Long-run variance, persistence of shocks, and the share of the last return in it."""
    level = numpyro.sample("level", dist.LogNormal(0, 0.5))
    persistence = numpyro.sample("persistence", dist.Beta(8, 2))
    share = numpyro.sample("share", dist.Beta(2, 6))
    numpyro.deterministic("alpha", persistence * share)
    numpyro.deterministic("beta", persistence * (1 - share))
    numpyro.deterministic("omega", level * (1 - persistence))


def simulator(level, alpha, beta, omega, rows, key):
    """Returns y (N,), begun at the long-run variance."""

    def step(variance, noise):
        value = jnp.sqrt(variance) * noise
        return omega + alpha * value**2 + beta * variance, value

    return {"y": jax.lax.scan(step, level, jr.normal(key, (rows,)))[1]}
