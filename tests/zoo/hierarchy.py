"""Hierarchical models."""

import pyro.distributions as dist
import torch
from pyro.infer.reparam import LocScaleReparam

import pyro
from pyro import poutine
from zoo.registry import GROUP, ZOO, Member, X, Y, counts, member, normal, uniform

ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
AT_BATS, HITS = torch.full((18,), 45.0), torch.arange(18.0, 0.0, -1.0)


@member(ERRORS, EFFECTS)
def eight_schools(sigma, y=None):
    mu = pyro.sample("mu", dist.Normal(0, 5))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("J", len(sigma)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("obs", dist.Normal(theta, sigma), obs=y)


ZOO["eight_schools_reparam"] = Member(
    "eight_schools_reparam",
    poutine.reparam(eight_schools, config={"theta": LocScaleReparam(0.0)}),
    (ERRORS, EFFECTS),
)


@member(X, GROUP, Y)
def varying_slopes(x, g, y=None):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    tau = pyro.sample("tau", dist.HalfNormal(torch.ones(3)).to_event(1))
    with pyro.plate("groups", 5):
        beta = pyro.sample("beta", dist.Normal(mu, tau).to_event(1))
    s = pyro.sample("s", dist.Exponential(1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(torch.einsum("nd,nd->n", x, beta[g]), s), obs=y)


@member(X[:, 0], GROUP, Y)
def correlated_slopes(x, g, y=None):
    """Intercepts and slopes with an LKJ prior of their correlation."""
    chol = pyro.sample("chol", dist.LKJCholesky(2, 2.0))
    scales = pyro.sample("scales", dist.HalfNormal(torch.ones(2)).to_event(1))
    mean = pyro.sample("mean", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("groups", 5):
        both = pyro.sample(
            "both", dist.MultivariateNormal(mean, scale_tril=torch.diag(scales) @ chol)
        )
    sigma = pyro.sample("sigma", dist.HalfCauchy(1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(both[g, 0] + both[g, 1] * x, sigma), obs=y)


@member(normal(6, 4))
def nested_plates(y):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    rows, columns = pyro.plate("a", 6, dim=-2), pyro.plate("b", 4, dim=-1)
    with rows:
        u = pyro.sample("u", dist.Normal(m, 1.0))
    with columns:
        v = pyro.sample("v", dist.Gamma(2.0, 2.0))
    with rows, columns:
        pyro.sample("y", dist.Normal(u * v, 1.0), obs=y)


@member(AT_BATS, HITS)
def baseball_pooled(at_bats, hits=None):
    """Pyro's baseball example: one chance for all."""
    phi = pyro.sample("phi", dist.Uniform(0.0, 1.0))
    with pyro.plate("players", len(at_bats)):
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


@member(AT_BATS, HITS)
def baseball_not_pooled(at_bats, hits=None):
    with pyro.plate("players", len(at_bats)):
        phi = pyro.sample("phi", dist.Beta(1.0, 1.0))
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


@member(AT_BATS, HITS)
def baseball_partially_pooled(at_bats, hits=None):
    m = pyro.sample("m", dist.Uniform(0.0, 1.0))
    kappa = pyro.sample("kappa", dist.Pareto(1.0, 1.5))
    with pyro.plate("players", len(at_bats)):
        phi = pyro.sample("phi", dist.Beta(m * kappa, (1 - m) * kappa))
        return pyro.sample("obs", dist.Binomial(at_bats, phi), obs=hits)


@member(AT_BATS, HITS)
def baseball_logit(at_bats, hits=None):
    loc = pyro.sample("loc", dist.Normal(-1.0, 1.0))
    scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    with pyro.plate("players", len(at_bats)):
        alpha = pyro.sample("alpha", dist.Normal(loc, scale))
        return pyro.sample("obs", dist.Binomial(at_bats, logits=alpha), obs=hits)


@member((uniform(12, 5) < 0.6).float())
def item_response(y=None):
    """Two-parameter item response."""
    students, items = pyro.plate("student", 12, dim=-2), pyro.plate("item", 5, dim=-1)
    with students:
        ability = pyro.sample("ability", dist.Normal(0.0, 1.0))
    with items:
        difficulty = pyro.sample("difficulty", dist.Normal(0.0, 1.0))
        slope = pyro.sample("slope", dist.LogNormal(0.0, 0.3))
    with students, items:
        pyro.sample("y", dist.Bernoulli(logits=slope * (ability - difficulty)), obs=y)


@member(torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3], [1, 3]]))
def bradley_terry(games):
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("teams", 4):
        skill = pyro.sample("skill", dist.Normal(0.0, scale))
    with pyro.plate("games", len(games)):
        gap = skill[games[:, 0]] - skill[games[:, 1]]
        pyro.sample("won", dist.Bernoulli(logits=gap), obs=torch.ones(len(games)))


@member(normal(8, 6))
def matrix_factors(y):
    with pyro.plate("rows", 8, dim=-1):
        u = pyro.sample("u", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("columns", 6, dim=-1):
        v = pyro.sample("v", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    sigma = pyro.sample("sigma", dist.Gamma(2.0, 2.0))
    with pyro.plate("r", 8, dim=-2), pyro.plate("c", 6, dim=-1):
        pyro.sample("y", dist.Normal(u @ v.T, sigma), obs=y)


@member(counts(torch.full((10,), 5.0)), torch.full((10,), 20.0))
def overdispersed(y, n):
    mean = pyro.sample("mean", dist.Beta(2.0, 2.0))
    size = pyro.sample("size", dist.Gamma(5.0, 0.5))
    with pyro.plate("n", len(y)):
        pyro.sample("y", dist.BetaBinomial(mean * size, (1 - mean) * size, n), obs=y)
