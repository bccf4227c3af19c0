"""Discrete latents and mixtures."""

import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex

import pyro
from zoo.registry import counts, member, normal, uniform

TWO_LUMPS = torch.cat([normal(20) - 2, normal(20) + 2])


@member(TWO_LUMPS)
def mixture(y):
    w = pyro.sample("w", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("k", 3):
        loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("n", len(y)):
        pyro.sample(
            "y", dist.MixtureSameFamily(dist.Categorical(w), dist.Normal(loc, scale)), obs=y
        )


@member(TWO_LUMPS[14:26])
@config_enumerate
def mixture_enumerated(y):
    w = pyro.sample("w", dist.Dirichlet(0.5 * torch.ones(2)))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("components", 2):
        locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(y)):
        label = pyro.sample("label", dist.Categorical(w))
        pyro.sample("obs", dist.Normal(locs[label], scale), obs=y)


@member(normal(8))
@config_enumerate
def hidden_markov(y):
    moves = pyro.sample("moves", dist.Dirichlet(torch.ones(3, 3) + torch.eye(3)).to_event(1))
    mu = pyro.sample("mu", dist.Normal(torch.tensor([-1.0, 0.0, 1.0]), 1.0).to_event(1))
    x = 0
    for t in pyro.markov(range(len(y))):
        x = pyro.sample(
            f"x_{t}", dist.Categorical(Vindex(moves)[..., x, :]), infer={"enumerate": "parallel"}
        )
        pyro.sample(f"y_{t}", dist.Normal(Vindex(mu)[..., x], 1.0), obs=y[t])


@member(normal(5))
@config_enumerate
def factorial_hmm(y):
    """Two chains that are seen together."""
    stay = pyro.sample("stay", dist.Beta(5.0, 1.0).expand([2]).to_event(1))
    size = pyro.sample("size", dist.Normal(torch.tensor([1.0, 3.0]), 0.5).to_event(1))
    a = b = torch.tensor(0.0)
    for t in pyro.markov(range(len(y))):
        a = pyro.sample(f"a_{t}", dist.Bernoulli(torch.where(a == 1, stay[0], 1 - stay[0])))
        b = pyro.sample(f"b_{t}", dist.Bernoulli(torch.where(b == 1, stay[1], 1 - stay[1])))
        pyro.sample(f"y_{t}", dist.Normal(a * size[0] + b * size[1], 1.0), obs=y[t])


@member(TWO_LUMPS)
def dirichlet_process(y):
    """Pyro's tutorial: sticks broken five times."""
    alpha = pyro.sample("alpha", dist.Gamma(2.0, 2.0))
    with pyro.plate("sticks", 4):
        beta = pyro.sample("beta", dist.Beta(1.0, alpha))
    left = torch.nn.functional.pad((1 - beta).cumprod(-1), (1, 0), value=1.0)
    weights = torch.nn.functional.pad(beta, (0, 1), value=1.0) * left
    with pyro.plate("components", 5):
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    with pyro.plate("data", len(y)):
        pyro.sample(
            "y", dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(mu, 1.0)), obs=y
        )


@member(torch.randint(0, 6, (4, 10)))
@config_enumerate
def topics(words):
    """Pyro's latent Dirichlet allocation example."""
    with pyro.plate("topics", 2):
        topic_words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(6)))
    with pyro.plate("documents", 4, dim=-2):
        weights = pyro.sample("weights", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("words", 10, dim=-1):
            topic = pyro.sample("topic", dist.Categorical(weights))
            pyro.sample("word", dist.Categorical(Vindex(topic_words)[topic]), obs=words)


@member(torch.randint(0, 2, (9, 3)))
@config_enumerate
def annotators(ratings):
    """Dawid and Skene."""
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("annotator", 3, dim=-1):
        hit = pyro.sample("hit", dist.Beta(4.0, 1.0))
        false = pyro.sample("false", dist.Beta(1.0, 4.0))
    with pyro.plate("item", 9, dim=-2):
        true = pyro.sample("true", dist.Bernoulli(share))
        with pyro.plate("a", 3, dim=-1):
            pyro.sample(
                "rating", dist.Bernoulli(torch.where(true == 1, hit, false)), obs=ratings.float()
            )


@member((uniform(6, 4) < 0.5).float())
@config_enumerate
def capture_recapture(seen):
    """Pyro's Cormack-Jolly-Seber example: an animal that died is not seen again."""
    survive = pyro.sample("survive", dist.Uniform(0.0, 1.0))
    catch = pyro.sample("catch", dist.Uniform(0.0, 1.0))
    with pyro.plate("animals", len(seen), dim=-1):
        alive = torch.ones(len(seen))
        for t in pyro.markov(range(seen.shape[1])):
            alive = pyro.sample(f"z_{t}", dist.Bernoulli(survive * alive))
            pyro.sample(
                f"y_{t}", dist.Bernoulli((catch * alive).clamp(1e-6, 1 - 1e-6)), obs=seen[:, t]
            )


@member(torch.tensor([[3.0, 5.0, 2.0], [1.0, 8.0, 1.0]]))
def categories(c):
    p = pyro.sample("p", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])))
    with pyro.plate("d", 2):
        pyro.sample("c", dist.Multinomial(10, p), obs=c)
        pyro.sample("dm", dist.DirichletMultinomial(10 * p, 10), obs=c)
    k = pyro.sample("k", dist.Categorical(p))
    pyro.sample("o", dist.OneHotCategorical(probs=p), obs=torch.tensor([0.0, 1.0, 0.0]))
    pyro.sample("z", dist.Normal(k.float(), 1.0), obs=torch.tensor(1.5))


@member(torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]))
def coin(y):
    """Pyro's first SVI tutorial."""
    f = pyro.sample("latent_fairness", dist.Beta(torch.tensor(10.0), torch.tensor(10.0)))
    for i in range(len(y)):
        pyro.sample(f"obs_{i}", dist.Bernoulli(f), obs=y[i])


@member(counts(torch.full((12,), 2.0)))
def hurdle(y):
    """No event, or a positive number of them."""
    rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
    zero = pyro.sample("zero", dist.Beta(1.0, 1.0))
    with pyro.plate("n", len(y)):
        positive = dist.Poisson(rate).log_prob(y) - torch.log1p(-torch.exp(-rate))
        pyro.factor("y", torch.where(y == 0, zero.log(), torch.log1p(-zero) + positive))
