"""Stochastic SIR: an epidemic in a population of 1,000, of which some cases are reported each day.

    infected_t ~ Binomial(S_t, 1 - exp(-beta I_t / 1000))
    recovered_t ~ Binomial(I_t, 1 - exp(-gamma))
    cases_t ~ Binomial(infected_t, reported),  t = 1..60 days, from ten infected

Bailey 1975, "The mathematical theory of infectious diseases" (chain-binomial models).
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

TASK = {"rows": None, "dims": {"cases": ["day"]}}

PEOPLE, FIRST, DAYS = 1000, 10, 60


def prior():
    """Contacts and recoveries a day, and the share of cases that is reported."""
    numpyro.sample("beta", dist.LogNormal(jnp.log(0.4), 0.5))
    numpyro.sample("gamma", dist.LogNormal(jnp.log(0.15), 0.3))
    numpyro.sample("reported", dist.Beta(4, 4))


def simulator(beta, gamma, reported, key):
    """Reported cases of each day, (60,)."""

    def day(state, key):
        susceptible, infected = state
        keys = jr.split(key, 3)
        new = jr.binomial(keys[0], susceptible, -jnp.expm1(-beta * infected / PEOPLE))
        gone = jr.binomial(keys[1], infected, -jnp.expm1(-gamma))
        return (susceptible - new, infected + new - gone), jr.binomial(keys[2], new, reported)

    start = (jnp.float32(PEOPLE - FIRST), jnp.float32(FIRST))
    return {"cases": jax.lax.scan(day, start, jr.split(key, DAYS))[1]}
