"""Lotka-Volterra without noise in its rates: two coupled equations, seen with noise.

    dX/dt = X (alpha - beta Y),  dY/dt = Y (delta X - gamma),  X(0) = Y(0) = 1
    animals_t ~ Normal(log (X, Y)(t), sigma),  t = 1..20

Solved for the logarithms by Runge-Kutta's fourth order in steps of 1/10, so that the density has
derivatives of any order; `lotka_volterra` has noise in the rates too. Lotka 1920, "Analytical note
on certain rhythmic relations in organic systems", PNAS 6.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {"rows": None, "dims": {"animals": ["time", "species"]}}

TIMES, STEPS, FAR = 20, 10, 15.0
"""Times seen, steps between two of them, and the bound of logarithms (a draw that explodes)."""


def model(animals=None):
    """Logarithms of the numbers of prey and predators, (20, 2)."""
    names = ("alpha", "beta", "gamma", "delta")
    rates = [numpyro.sample(n, dist.LogNormal(jnp.log(0.7), 0.4)) for n in names]
    sigma = numpyro.sample("sigma", dist.LogNormal(jnp.log(0.2), 0.5))
    path = numpyro.deterministic("path", solve(*rates))
    numpyro.sample("animals", dist.Normal(path, sigma).to_event(2), obs=animals)


def solve(alpha, beta, gamma, delta):
    """log (X, Y) at times 1 to 20, (20, 2)."""

    def rate(state):
        return jnp.stack([alpha - beta * jnp.exp(state[1]), delta * jnp.exp(state[0]) - gamma])

    def step(state, _):
        first = rate(state)
        second = rate(state + first / (2 * STEPS))
        third = rate(state + second / (2 * STEPS))
        fourth = rate(state + third / STEPS)
        moved = state + (first + 2 * second + 2 * third + fourth) / (6 * STEPS)
        return jnp.clip(moved, -FAR, FAR), None

    def between(state, _):
        state, _ = jax.lax.scan(step, state, length=STEPS)
        return state, state

    return jax.lax.scan(between, jnp.zeros(2), length=TIMES)[1]
