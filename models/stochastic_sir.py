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
    """Reported cases of each day, (60,).

    All three binomials of a step are one draw, which compiles in a third of the time: the reports
    are those of the day before, and there is a step more than days.
    """

    def day(state, key):
        susceptible, infected, unreported = state
        counts = jnp.stack([susceptible, infected, unreported])
        rates = [-jnp.expm1(-beta * infected / PEOPLE), -jnp.expm1(-gamma), reported]
        new, gone, cases = jr.binomial(key, counts, jnp.stack(rates))
        return (susceptible - new, infected + new - gone, new), cases

    start = tuple(jnp.array([PEOPLE - FIRST, FIRST, 0], jnp.float32))
    return {"cases": jax.lax.scan(day, start, jr.split(key, DAYS + 1))[1][1:]}
