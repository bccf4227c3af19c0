"""Drift diffusion: choices between two options and the times they take, trial by trial.

    dz = drift dt + dW from z = 0,  until z = +-boundary / 2
    y_i = (time of that + non_decision, choice: 1 at the upper end),  i = 1..N trials

The time from the middle does not depend on the end. Its distribution is that without drift, times
exp(-drift^2 t / 2), which is inverted on a grid; there is no step in time. Ratcliff 1978, "A theory
of memory retrieval", Psychological Review 85; Feller 1968, volume 1, chapter XIV (the series).
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (20, 500)}

TERMS, GRID = 8, 400
"""Terms of both series, and times at which the distribution is computed."""


def prior():
    """Rates of a second, a boundary of about two, and times in seconds."""
    numpyro.sample("drift", dist.Normal(0, 2))
    numpyro.sample("boundary", dist.Uniform(0.5, 3))
    numpyro.sample("non_decision", dist.Uniform(0.1, 0.6))


def exit_density(time):
    """Density of the time at which Brownian motion from 0 leaves (-1, 1), at times (T,)."""
    odd = 2 * jnp.arange(TERMS) + 1
    sign = jnp.where(jnp.arange(TERMS) % 2 == 0, 1.0, -1.0) * odd
    t = time[:, None]
    early = 2 / jnp.sqrt(2 * jnp.pi * t**3) * sign * jnp.exp(-(odd**2) / (2 * t))
    late = jnp.pi / 2 * sign * jnp.exp(-((odd * jnp.pi) ** 2) * t / 8)
    return jnp.maximum(jnp.sum(jnp.where(t < 0.6, early, late), 1), 0.0)


def simulator(drift, boundary, non_decision, rows, key):
    """Times (N,) in seconds and choices (N,) of N trials."""
    keys, half = jr.split(key), boundary / 2
    time = jnp.geomspace(0.01, 30.0, GRID)
    density = exit_density(time) * jnp.exp(-((drift * half) ** 2) * time / 2)
    pieces = (density[1:] + density[:-1]) / 2 * jnp.diff(time)
    level = jnp.concatenate([jnp.zeros(1), jnp.cumsum(pieces)])
    exit_time = jnp.interp(jr.uniform(keys[0], (rows,)) * level[-1], level, time)
    upper = jr.bernoulli(keys[1], jax.nn.sigmoid(drift * boundary), (rows,))
    return {"time": non_decision + half**2 * exit_time, "choice": upper}
