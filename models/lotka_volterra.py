"""Lotka-Volterra: prey and predators whose numbers rise and fall, with noise in their rates.

    d log X = (alpha - beta Y - s^2 / 2) dt + s dW,  d log Y = (delta X - gamma - s^2 / 2) dt + s dV
    counts at t = 1..20:  log y = log (X, Y) + N(0, 0.1^2)

With s = 0 it is the ordinary differential equation. Euler-Maruyama on the logarithms, in steps of
1/20. Lotka 1920, "Analytical note on certain rhythmic relations in organic systems", PNAS 6.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": None, "dims": {"animals": ["time", "species"]}}

TIMES, STEPS, FAR = 20, 20, 15.0
"""Times seen, steps between two of them, and the bound of logarithms (a model that explodes)."""


def prior():
    """Rates in units of the time between two counts; one is the usual number of animals."""
    for name in ("alpha", "beta", "gamma", "delta"):
        numpyro.sample(name, dist.LogNormal(jnp.log(0.7), 0.4))
    numpyro.sample("noise", dist.HalfNormal(0.2))


def simulator(alpha, beta, gamma, delta, noise, key):
    """Logarithms of the numbers of prey and predators, (20, 2)."""
    keys, width = jr.split(key), 1.0 / STEPS

    def step(state, wiener):
        growth = jnp.stack([alpha - beta * jnp.exp(state[1]), delta * jnp.exp(state[0]) - gamma])
        moved = state + (growth - noise**2 / 2) * width + noise * jnp.sqrt(width) * wiener
        return jnp.clip(moved, -FAR, FAR), None

    def between(state, wiener):
        state, _ = jax.lax.scan(step, state, wiener)
        return state, state

    wiener = jr.normal(keys[0], (TIMES, STEPS, 2))
    path = jax.lax.scan(between, jnp.zeros(2), wiener)[1]
    return {"animals": path + 0.1 * jr.normal(keys[1], path.shape)}
