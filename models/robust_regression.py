"""Robust regression: Student-t noise, so that outliers lose their pull; five covariates, no
intercept.

    weights ~ N(0, I),  sigma ~ HalfNormal(1),  nu ~ Gamma(2, 0.1)
    y_i ~ StudentT(nu, x_i . weights, sigma),  x_i in R^5

Lange, Little and Taylor 1989, "Robust statistical modeling using the t distribution", JASA 84; the
prior of the degrees of freedom nu from Juarez and Steel 2010, "Model-based clustering of
non-Gaussian panel data based on skew-t distributions", JBES 28.
"""

import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1).expand([5])},
    "rows": (8, 512),
    "dims": {"weights": ["covariate"], "x": ["covariate"]},
}


def model(x, y=None):
    """Covariates x (N, D) in, y (N,) out."""
    weights = numpyro.sample("weights", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    nu = numpyro.sample("nu", dist.Gamma(2, 0.1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.StudentT(nu, x @ weights, sigma), obs=y)
