"""Varying intercepts and slopes: radon in houses of any number of counties.

    level, by_uranium, by_floor ~ N(0, 1),    spread_k, noise ~ HalfNormal(1)
    intercept_c ~ N(level + by_uranium uranium_c, spread_0^2),    slope_c ~ N(by_floor, spread_1^2)
    y_i ~ N(intercept_{c_i} + slope_{c_i} floor_i, noise^2)

floor_i is 1 for a measurement above the ground and 0 in the cellar; uranium_c is the logarithm of
the county's uranium in its soil, standardised; y_i is the logarithm of radon.

Gelman 2006, "Multilevel (hierarchical) modeling: what it can and cannot do", Technometrics 48.
"""

import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"floor": dist.Bernoulli(0.2), "uranium": dist.Normal(0, 1)},
    "rows": (1, 24),
    "groups": {"county": (6, 64)},
    "by_group": {"county": ["uranium"]},
}


def model(floor, uranium, county, n_county, y=None):
    """Floors (N,), uranium (C,) and counties (N,) in, log radon y (N,) out."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    by_uranium = numpyro.sample("by_uranium", dist.Normal(0, 1))
    by_floor = numpyro.sample("by_floor", dist.Normal(0, 1))
    spread = numpyro.sample("spread", dist.HalfNormal(1).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    with numpyro.plate("counties", n_county):
        intercept = numpyro.sample(
            "intercept", dist.Normal(level + by_uranium * uranium, spread[0])
        )
        slope = numpyro.sample("slope", dist.Normal(by_floor, spread[1]))
    with numpyro.plate("house", floor.shape[0]):
        mean = intercept[county] + slope[county] * floor
        numpyro.sample("y", dist.Normal(mean, noise), obs=y)
