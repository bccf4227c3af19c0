"""Hierarchical logistic regression: successes in any number of groups, partially pooled.

    level ~ N(0, 1.5^2),  slope ~ N(0, 1),  spread ~ HalfNormal(1)
    effect_g ~ N(level, spread^2),    y_i ~ Bernoulli(logit^-1(effect_{g_i} + slope x_i))

Efron and Morris 1975, "Data analysis using Stein's estimator and its generalizations" (batting
averages of ballplayers); Gelman and Hill 2007, chapter 14.
"""

import numpyro
import numpyro.distributions as dist

TASK = {
    "inputs": {"x": dist.Normal(0, 1)},
    "rows": (1, 16),
    "groups": {"group": (4, 48)},
}


def model(x, group, n_group, y=None):
    """A covariate x (N,) and groups (N,) in, y (N,), 1 for a success, out."""
    level = numpyro.sample("level", dist.Normal(0, 1.5))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("groups", n_group):
        effect = numpyro.sample("effect", dist.Normal(level, spread))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=effect[group] + slope * x), obs=y)
