"""Pyro's handlers, plates that choose rows, masks, factors, data-dependent shapes."""

import pyro.distributions as dist
import torch
from pyro.infer.reparam import LocScaleReparam, TransformReparam

import pyro
from pyro import poutine
from zoo.registry import GROUP, ZOO, Member, X, Y, member, normal


@member(X, Y)
def subsampled(x, y):
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x), subsample_size=10) as rows:
        pyro.sample("y", dist.Normal(x[rows] @ b, 1.0), obs=y[rows])


@member(X, Y)
def subsample_statement(x, y):
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x), subsample=torch.arange(3, 13)):
        x_rows, y_rows = pyro.subsample(x, event_dim=1), pyro.subsample(y, event_dim=0)
        pyro.sample("y", dist.Normal(x_rows @ b, 1.0), obs=y_rows)


@member(X, GROUP, Y)
def shapes_from_data(x, g, y):
    n, k, keep = int(g.max().item()) + 1, len(torch.unique(g)), y > y.mean()
    a = pyro.sample("a", dist.Normal(torch.zeros(n), 1.0).to_event(1))
    if (y > 0).any():
        x = x * 2
    x_kept, g_kept, y_kept = x[keep], g[keep], y[keep]
    with pyro.plate("n", len(y_kept)):
        pyro.sample("y", dist.Normal(a[g_kept] + x_kept.sum(-1) / k, 1.0), obs=y_kept)


@member(X, Y)
def factors_and_masks(x, y):
    b = pyro.sample("b", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    mask = y > 0
    with pyro.plate("n", len(x)), poutine.mask(mask=mask):
        pyro.sample("y", dist.Normal(x @ b, 1.0), obs=y)
        pyro.factor("f", -b.abs().sum() * torch.ones(len(x)))
    with poutine.scale(scale=0.5):
        pyro.sample(
            "y2", dist.Normal((x @ b).mean(), 1.0).mask(b.sum() > -100.0), obs=torch.tensor(0.3)
        )
    pyro.factor("ridge", -(b**2).sum())


@member(torch.tensor([1.0, 2.0, 0.0, 0.0]), torch.tensor([True, True, False, True]))
def partly_observed(y, m):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("n", 4):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=y, obs_mask=m)


def chain(y):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.LogNormal(a, 1.0))
    c = pyro.sample("c", dist.Normal(a, b))
    with pyro.plate("n", len(y)):
        pyro.sample("y", dist.Normal(c, 1.0), obs=y)


CHAIN = normal(5)
HANDLED = {
    "conditioned": poutine.condition(chain, {"b": torch.tensor(0.7)}),
    "intervened": poutine.do(chain, {"a": torch.tensor(0.4)}),
    "scaled": poutine.scale(chain, scale=0.25),
    "masked": poutine.mask(chain, mask=torch.tensor(True)),
    "transform_reparam": poutine.reparam(chain, config={"b": TransformReparam()}),
    "lifted_twice": poutine.scale(poutine.condition(chain, {"c": torch.tensor(0.1)}), scale=2.0),
}
ZOO.update({name: Member(name, model, (CHAIN,)) for name, model in HANDLED.items()})


@member(normal(6), name="learnt_centring")
@poutine.reparam(config={"effect": LocScaleReparam(0.3)})
def learnt_centring(y):
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("n", len(y)):
        effect = pyro.sample("effect", dist.StudentT(5.0, 0.0, scale))
        pyro.sample("y", dist.Normal(effect, 1.0), obs=y)
