"""Poisson regression with an exposure and an effect for each of any number of groups.

    level ~ N(0, 1),  slope ~ N(0, 0.5^2),  spread ~ HalfNormal(0.7)
    effect_g ~ N(level, spread^2),    y_i ~ Poisson(exposure_i exp(effect_{g_i} + slope x_i))

Clayton and Kaldor 1987, "Empirical Bayes estimates of age-standardized relative risks for use in
disease mapping", Biometrics 43.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1), "exposure": dist.Uniform(0.5, 5)},
    "rows": (1, 16),
    "groups": {"region": (4, 48)},
}


def model(x, exposure, region, n_region, y=None):
    """A covariate x (N,), exposures (N,) and regions (N,) in, counts y (N,) out."""
    level = numpyro.sample("level", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 0.5))
    spread = numpyro.sample("spread", dist.HalfNormal(0.7))
    with numpyro.plate("regions", n_region):
        effect = numpyro.sample("effect", dist.Normal(level, spread))
    with numpyro.plate("row", x.shape[0]):
        rate = exposure * jnp.exp(effect[region] + slope * x)
        numpyro.sample("y", dist.Poisson(rate), obs=y)
