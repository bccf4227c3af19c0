"""Meta-analysis of any number of studies, each with one or several estimates of its effect.

    mean ~ N(0, 1),  between ~ HalfNormal(0.5)
    effect_s ~ N(mean, between^2),    y_i ~ N(effect_{s_i}, error_i^2)

error_i is the standard error of an estimate, taken as known.

DerSimonian and Laird 1986, "Meta-analysis in clinical trials", Controlled Clinical Trials 7;
Higgins, Thompson and Spiegelhalter 2009, "A re-evaluation of random-effects meta-analysis".
"""

import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"error": dist.LogNormal(-1.2, 0.5)},
    "rows": (1, 3),
    "groups": {"study": (3, 64)},
}


def model(error, study, n_study, y=None):
    """Standard errors (N,) and studies (N,) in, estimates y (N,) out."""
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    between = numpyro.sample("between", dist.HalfNormal(0.5))
    with numpyro.plate("studies", n_study):
        effect = numpyro.sample("effect", dist.Normal(mean, between))
    with numpyro.plate("estimate", error.shape[0]):
        numpyro.sample("y", dist.Normal(effect[study], error), obs=y)
