"""Regressions, one dataset each."""

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch.distributions import constraints

import pyro
from zoo.registry import COUNT, YES, X, Y, counts, member, normal, uniform


@member(X, Y)
def linear(x, y=None):
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b = pyro.sample("b", dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1))
    sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("obs", dist.Normal(a + (x * b).sum(-1), sigma), obs=y)


@member(X, YES)
def logistic(x, y=None):
    w = pyro.sample("w", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
    b = pyro.sample("b", dist.Normal(0.0, 10.0))
    with pyro.plate("data", x.size(0)):
        pyro.sample(
            "obs", dist.Bernoulli(logits=F.linear(x, w.unsqueeze(0)).squeeze(-1) + b), obs=y
        )


@member((uniform(40) < 0.3).float(), uniform(40) * 5, 7 + normal(40))
def rugged(africa, ruggedness, log_gdp=None):
    """Pyro's Bayesian regression tutorial."""
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b_africa = pyro.sample("bA", dist.Normal(0.0, 1.0))
    b_rugged = pyro.sample("bR", dist.Normal(0.0, 1.0))
    b_both = pyro.sample("bAR", dist.Normal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
    mean = a + b_africa * africa + b_rugged * ruggedness + b_both * africa * ruggedness
    with pyro.plate("data", len(ruggedness)):
        return pyro.sample("obs", dist.Normal(mean, sigma), obs=log_gdp)


@member(X, COUNT)
def count_families(x, y=None):
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 0.3).to_event(1))
    c = pyro.sample("conc", dist.Gamma(2.0, 1.0))
    eta = x @ b
    with pyro.plate("n", len(x)):
        pyro.sample("poisson", dist.Poisson(eta.exp()), obs=y)
        pyro.sample("negative_binomial", dist.NegativeBinomial(c, logits=eta), obs=y)
        pyro.sample("binomial", dist.Binomial(20, logits=eta), obs=y)
        pyro.sample("gamma_poisson", dist.GammaPoisson(c, c / eta.exp()), obs=y)
        pyro.sample(
            "zero_inflated", dist.ZeroInflatedPoisson(eta.exp(), gate=torch.tensor(0.2)), obs=y
        )


@member(X, Y)
def horseshoe(x, y=None):
    tau = pyro.sample("tau", dist.HalfCauchy(1.0))
    spread = pyro.sample("lambda", dist.HalfCauchy(torch.ones(x.shape[-1])).to_event(1))
    z = pyro.sample("z", dist.Normal(torch.zeros(x.shape[-1]), 1.0).to_event(1))
    b = pyro.deterministic("b", tau * spread * z)
    precision = pyro.sample("precision", dist.Gamma(3.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(x.matmul(b), precision.rsqrt()), obs=y)


@member(X, Y)
def robust(x, y=None):
    b = pyro.sample("b", dist.Laplace(torch.zeros(3), 1.0).to_event(1))
    nu = pyro.sample("nu", dist.Gamma(2.0, 0.1))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.StudentT(nu, torch.mv(x, b), sigma), obs=y)


@member(X, Y)
def quantile(x, y=None):
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.AsymmetricLaplace(x @ b, scale, torch.tensor(2.0)), obs=y)


@member(X, torch.bucketize(Y, torch.tensor([-1.0, 0.5, 2.0])))
def ordinal(x, y=None):
    """Pyro's ordinal regression example."""
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("cutpoints", 3, dim=-1):
        gaps = pyro.sample("gaps", dist.Exponential(1.0))
    cut = gaps.cumsum(-1) - 2
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.OrderedLogistic(x @ b, cut), obs=y)


@member(X, torch.randint(0, 4, (40,)))
def softmax(x, y=None):
    w = pyro.sample("w", dist.Normal(0.0, 1.0).expand([3, 4]).to_event(2))
    b = pyro.sample("b", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
    with pyro.plate("data", x.shape[0]):
        pyro.sample("y", dist.Categorical(logits=x @ w + b), obs=y)


@member(uniform(30) * 3 + 0.1, (uniform(30) < 0.3).float())
def survival(time, censored):
    """Weibull times, some censored."""
    shape = pyro.sample("shape", dist.Gamma(4.0, 3.0))
    scale = pyro.sample("scale", dist.Gamma(4.0, 2.0))
    with pyro.plate("subject", len(time)):
        with pyro.poutine.mask(mask=censored == 0):
            pyro.sample("time", dist.Weibull(scale, shape), obs=time)
        with pyro.poutine.mask(mask=censored == 1):
            pyro.factor("survived", -((time / scale) ** shape))


@member(torch.linspace(0, 1, 20), torch.sin(6 * torch.linspace(0, 1, 20)))
def gaussian_process(x, y=None):
    variance = pyro.sample("var", dist.LogNormal(0.0, 1.0))
    length = pyro.sample("len", dist.LogNormal(-1.0, 0.5))
    noise = pyro.sample("noise", dist.LogNormal(-2.0, 0.5))
    gap = x.unsqueeze(-1) - x.unsqueeze(-2)
    kernel = variance * torch.exp(-0.5 * (gap / length) ** 2) + torch.eye(len(x)) * (noise + 1e-1)
    chol = torch.linalg.cholesky(kernel)
    eps = pyro.sample("eps", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
    pyro.deterministic("f", chol @ eps)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), scale_tril=chol), obs=y)
    pyro.sample("y2", dist.MultivariateNormal(torch.zeros(len(x)), covariance_matrix=kernel), obs=y)


@member(torch.linspace(0, 4, 50), counts(torch.exp(1 + torch.sin(6.28 * torch.linspace(0, 4, 50)))))
def seasonal(time, y=None):
    harmonics = torch.arange(1.0, 4.0)
    angles = 2 * torch.pi * time[:, None] * harmonics
    features = torch.cat([angles.sin(), angles.cos()], -1)
    weights = pyro.sample("weights", dist.Normal(torch.zeros(6), 0.5).to_event(1))
    trend = pyro.sample("trend", dist.Normal(0.0, 0.2))
    concentration = pyro.sample("concentration", dist.InverseGamma(3.0, 10.0))
    mean = torch.exp(1 + trend * time + features @ weights)
    with pyro.plate("time", len(time)):
        pyro.sample(
            "y",
            dist.NegativeBinomial(concentration, logits=mean.log() - concentration.log()),
            obs=y,
        )


@member(X, Y)
def parameters(x, y=None):
    w = pyro.param("w", torch.zeros(3))
    s = pyro.param("s", lambda: torch.tensor(1.0), constraint=constraints.positive)
    b = pyro.sample("b", dist.Normal(0.0, s))
    with pyro.plate("n", len(x)):
        pyro.sample("y", dist.Normal(x @ w + b, s), obs=y)


@member(X, Y)
def outliers(x, y=None):
    """Good and bad points mixed, the labels summed out."""
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    share = pyro.sample("share", dist.Beta(1.0, 9.0))
    scales = pyro.sample("scales", dist.HalfNormal(torch.tensor([1.0, 10.0])).to_event(1))
    weights = dist.Categorical(torch.stack([1 - share, share]))
    with pyro.plate("data", len(x)):
        mean = (x @ b).unsqueeze(-1).expand(-1, 2)
        pyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mean, scales)), obs=y)
