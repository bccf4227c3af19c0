"""A hierarchical regression in Pyro: eight groups whose intercepts are partially pooled, one common
slope.

    mu ~ N(0, 1),  tau ~ HalfNormal(1),  slope ~ N(0, 1),  sigma ~ HalfNormal(1)
    intercept_j ~ N(mu, tau^2),  j = 1..8,    y_i ~ N(intercept_{g_i} + slope x_i, sigma^2)

Written centred, run non-centred by `LocScaleReparam`: with few rows in a group the posterior of
intercept and tau is a funnel, that of intercept_decentered = (intercept - mu) / tau is not.

Gelman and Hill 2007, "Data Analysis Using Regression and Multilevel/Hierarchical Models", chapter
12; Gorinova, Moore and Hoffman 2020, arXiv 1906.03028.
"""

import pyro.distributions as dist
import torch
from pyro.infer.reparam import LocScaleReparam

import pyro
from pyro import poutine

TASK = {
    "inputs": {"group": dist.Categorical(logits=torch.zeros(8)), "x": dist.Normal(0.0, 1.0)},
    "rows": (16, 512),
    "dims": {"intercept": ["group_of_rows"], "intercept_decentered": ["group_of_rows"]},
}


@poutine.reparam(config={"intercept": LocScaleReparam(0.0)})
def model(group, x, y=None):
    """Groups (N,) from 0 to 7 and a covariate x (N,) in, y (N,) out."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("group_of_rows", 8):
        intercept = pyro.sample("intercept", dist.Normal(mu, tau))
    with pyro.plate("row", x.shape[0]):
        pyro.sample("y", dist.Normal(intercept[group] + slope * x, sigma), obs=y)
