"""Many distributions in one model."""

import pyro.distributions as dist
import torch
import torch.distributions.transforms as T

import pyro
from zoo.registry import member, normal


@member()
def families():
    a = pyro.sample("a", dist.Beta(2.0, 3.0))
    b = pyro.sample("b", dist.Gamma(a, 2.0))
    pyro.sample("c", dist.HalfCauchy(b))
    d = pyro.sample("d", dist.StudentT(3.0, a, b))
    pyro.sample("e", dist.InverseGamma(3.0, b))
    pyro.sample("f", dist.Laplace(d, 1.0))
    pyro.sample("g", dist.Weibull(b + 0.1, a + 0.1))
    pyro.sample("h", dist.VonMises(0.0, 2.0))
    pyro.sample("i", dist.Exponential(1.0).expand([3]).to_event(1))
    pyro.sample("j", dist.Gumbel(0.0, 1.0))
    pyro.sample("k", dist.Pareto(1.0, 3.0))
    pyro.sample("l", dist.Chi2(3.0))
    pyro.sample("m", dist.Kumaraswamy(2.0, 2.0))
    pyro.sample("n", dist.LogisticNormal(torch.zeros(2), torch.ones(2)))
    pyro.sample("o", dist.FoldedDistribution(dist.Normal(0.0, 1.0)))
    pyro.sample("q", dist.AsymmetricLaplace(0.0, 1.0, 2.0))
    pyro.sample("r", dist.ContinuousBernoulli(torch.tensor(0.3)))
    pyro.sample("s", dist.RelaxedBernoulli(torch.tensor(0.5), probs=torch.tensor(0.4)))
    pyro.sample(
        "t", dist.LowRankMultivariateNormal(torch.zeros(3), torch.ones(3, 1), torch.ones(3))
    )
    pyro.sample("u", dist.Geometric(torch.tensor(0.3)))


@member()
def more_families():
    a = pyro.sample("a", dist.Gamma(2.0, 2.0))
    pyro.sample("b", dist.Logistic(0.0, a))
    pyro.sample("c", dist.SoftLaplace(0.0, a))
    pyro.sample("d", dist.FisherSnedecor(3.0, 4.0 + a))
    pyro.sample("e", dist.MultivariateStudentT(5.0, torch.zeros(2), torch.eye(2) * a))
    pyro.sample("f", dist.ProjectedNormal(torch.tensor([1.0, 0.5])))
    pyro.sample("g", dist.RelaxedOneHotCategorical(torch.tensor(0.7), logits=torch.zeros(3)))
    pyro.sample("h", dist.LKJ(3, 1.0 + a))
    pyro.sample("i", dist.Wishart(torch.tensor(4.0), covariance_matrix=torch.eye(2) * (1 + a)))
    pyro.sample(
        "j", dist.ZeroInflatedNegativeBinomial(a, logits=torch.tensor(0.5), gate=torch.tensor(0.3))
    )
    pyro.sample("k", dist.SkewLogistic(0.0, 1.0, a))
    pyro.sample(
        "l", dist.SineBivariateVonMises(0.0, 0.0, 1.0, 2.0, 0.5), obs=torch.tensor([0.3, -0.2])
    )
    pyro.sample(
        "m", dist.MixtureOfDiagNormals(torch.zeros(2, 3), torch.ones(2, 3) * a, torch.zeros(2))
    )


@member()
def transformed():
    a = pyro.sample(
        "a",
        dist.TransformedDistribution(
            dist.Normal(0.0, 1.0), [T.AffineTransform(1.0, 2.0), T.ExpTransform()]
        ),
    )
    base = dist.Normal(torch.zeros(3), 1.0).to_event(1)
    pyro.sample("b", dist.TransformedDistribution(base, [T.AffineTransform(torch.ones(3), a)]))
    pyro.sample(
        "c", dist.TransformedDistribution(dist.Uniform(0.01, 0.99), T.SigmoidTransform().inv)
    )
    pyro.sample("d", dist.TransformedDistribution(base, [dist.transforms.OrderedTransform()]))
    pyro.sample("e", dist.Normal(torch.zeros(2), 1.0).to_event(1).mask(torch.tensor(True)))
    pyro.sample("f", dist.TransformedDistribution(base, [T.StickBreakingTransform()]))
    pyro.sample(
        "g",
        dist.TransformedDistribution(
            dist.Normal(0.0, 1.0), [T.TanhTransform(), T.PowerTransform(3.0)]
        ),
    )


@member(normal(25, 3))
def correlation(y):
    theta = pyro.sample("theta", dist.HalfCauchy(torch.ones(3)).to_event(1))
    chol = pyro.sample("L_omega", dist.LKJCholesky(3, 1.5))
    scaled = torch.mm(torch.diag(theta.sqrt()), chol)
    with pyro.plate("n", len(y)):
        pyro.sample("obs", dist.MultivariateNormal(torch.zeros(3), scale_tril=scaled), obs=y)


@member(normal(20, 4))
def factor_analysis(y):
    loading = pyro.sample("loading", dist.Normal(torch.zeros(4, 2), 1.0).to_event(2))
    noise = pyro.sample("noise", dist.InverseGamma(3.0 * torch.ones(4), 1.0).to_event(1))
    with pyro.plate("n", len(y)):
        pyro.sample("y", dist.LowRankMultivariateNormal(torch.zeros(4), loading, noise), obs=y)


@member(normal(20, 2))
def precision_matrix(y):
    chol = pyro.sample("chol", dist.LKJCholesky(2, 1.0))
    precision = chol @ chol.T + 0.1 * torch.eye(2)
    mean = pyro.sample(
        "mean", dist.ImproperUniform(dist.constraints.real_vector, (), (2,)), obs=torch.zeros(2)
    )
    with pyro.plate("n", len(y)):
        pyro.sample("y", dist.MultivariateNormal(mean, precision_matrix=precision), obs=y)


@member(normal(15) * 0.3)
def directions(angle):
    loc = pyro.sample("loc", dist.VonMises(0.0, 1.0))
    concentration = pyro.sample("concentration", dist.HalfNormal(5.0))
    with pyro.plate("n", len(angle)):
        pyro.sample("angle", dist.VonMises(loc, concentration), obs=angle)
