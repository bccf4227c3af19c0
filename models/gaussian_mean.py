"""The mean of a Gaussian of known scale: the conjugate model, whose posterior has a closed form.

    mean ~ N(0, 1),    y_i ~ N(mean, 1),  i = 1..N
    mean | y ~ N(sum_i y_i / (N + 1), 1 / (N + 1))

Gelman et al. 2013, "Bayesian Data Analysis", third edition, section 2.5.
"""

import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist

TASK = {"rows": (8, 512)}


def model(rows, y=None):
    """A number of rows in, y (N,) out."""
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    with numpyro.plate("row", rows):
        numpyro.sample("y", dist.Normal(mean, 1), obs=y)


def exact_posterior(data, key, draws):
    """Independent draws from the conjugate posterior: mean (S,)."""
    y = np.asarray(data["y"], np.float64)
    standard = np.asarray(jr.normal(key, (draws,)), np.float64)
    return {"mean": y.sum() / (len(y) + 1) + standard / np.sqrt(len(y) + 1)}
