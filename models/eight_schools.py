"""Eight schools: how much coaching helps, partially pooled over eight parallel experiments.

    mu ~ N(0, 5^2),  tau ~ HalfCauchy(5),  standardized_j ~ N(0, 1)
    effect_j = mu + tau standardized_j,    y_j ~ N(effect_j, sigma_j^2),  j = 1..8

Rubin 1981, "Estimation in parallel randomized experiments", Journal of Educational Statistics 6;
the non-centred form from Betancourt and Girolami 2013, arXiv 1312.0906.
"""

import numpy as np
import numpyro
import numpyro.distributions as dist

DATA = {
    "sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
    "y": np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
}
"""Standard errors and estimated effects, in points of the test (Rubin 1981)."""

TASK = {
    "inputs": {"sigma": DATA["sigma"]},
    "rows": None,
    "dims": {"sigma": ["school"], "effect": ["school"]},
    "coords": {"school": list("ABCDEFGH")},
}


def model(sigma, y=None):
    """Standard errors sigma (8,) in, estimated effects y (8,) out."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", 8):
        standardized = numpyro.sample("standardized", dist.Normal(0, 1))
        effect = numpyro.deterministic("effect", mu + tau * standardized)
        numpyro.sample("y", dist.Normal(effect, sigma), obs=y)
