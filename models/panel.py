"""A panel: firms of any number over the same few years, each with an effect.

    level ~ N(0, 1),  slope ~ N(0, 0.5^2),  spread, by_year ~ HalfNormal(0.7)
    noise ~ HalfNormal(1),    firm_f ~ N(level, spread^2),    year_t ~ N(0, by_year^2),  t = 1..5
    y_i ~ N(firm_{f_i} + year_{t_i} + slope x_i, noise^2)

Baltagi 2021, "Econometric Analysis of Panel Data", 6th edition, chapter 3.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

YEARS = 5

TASK = {
    "inputs": {"x": dist.Normal(0, 1), "year": dist.Categorical(logits=jnp.zeros(YEARS))},
    "rows": (1, 8),
    "groups": {"firm": (6, 64)},
}


def model(x, year, firm, n_firm, y=None):
    """Covariate x (N,), years 0 to 4 (N,) and firms (N,) in, outcomes y (N,) out."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 0.5))
    spread = numpyro.sample("spread", dist.HalfNormal(0.7))
    by_year = numpyro.sample("by_year", dist.HalfNormal(0.7))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    with numpyro.plate("years", YEARS):
        of_year = numpyro.sample("of_year", dist.Normal(0, by_year))
    with numpyro.plate("firms", n_firm):
        of_firm = numpyro.sample("of_firm", dist.Normal(level, spread))
    with numpyro.plate("row", x.shape[0]):
        mean = of_firm[firm] + of_year[year] + slope * x
        numpyro.sample("y", dist.Normal(mean, noise), obs=y)
