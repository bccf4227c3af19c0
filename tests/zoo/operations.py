"""As many torch operations as fit in a model."""

import pyro.distributions as dist
import torch
import torch.nn.functional as F

import pyro
from zoo.registry import GROUP, X, member


@member(X, GROUP)
def algebra(x, g):
    a = pyro.sample("a", dist.Normal(torch.zeros(5), 1.0).to_event(1))
    b = pyro.sample("b", dist.Gamma(torch.ones(5) * 2, 1.0).to_event(1))
    outer = torch.einsum("i,j->ij", a, b)
    gram = torch.eye(5) + outer @ outer.T
    blocks = torch.block_diag(outer, torch.eye(2))
    total = torch.linalg.solve(gram, a).sum() + torch.logdet(gram) + torch.linalg.inv(gram).trace()
    total = (
        total + torch.tril(outer).sum() + outer.triu(1).sum() + torch.outer(a, b).diagonal().sum()
    )
    total = (
        total
        + torch.linalg.eigvalsh(outer @ outer.T + torch.eye(5)).sum()
        + blocks.sum()
        + a.norm()
    )
    total = total + torch.vstack([a, b]).mean() + F.one_hot(g, 5).float().mm(a[:, None]).sum()
    total = (
        total
        + torch.cdist(x[:2], x[2:4] * a[0]).sum()
        + F.conv1d(a[None, None], b[None, None, :3]).sum()
    )
    pyro.factor("f", total)


@member(X, GROUP)
def elementwise(x, g):
    a = pyro.sample("a", dist.Normal(torch.zeros(5), 1.0).to_event(1))
    b = pyro.sample("b", dist.Gamma(torch.ones(5) * 2, 1.0).to_event(1))
    p = torch.softmax(a, -1)
    parts = (
        torch.erf(a)
        + torch.lgamma(b)
        + torch.digamma(b)
        + torch.where(a > 0, a, -2 * a)
        + torch.atan2(a, b)
    )
    ends = torch.cat([p, torch.cumsum(a, 0)]).sort().values.clamp(-3, 3)
    whole = (
        torch.logsumexp(a, 0) + F.softplus(a).sum() + torch.log1p(b).sum() + torch.expm1(-b).sum()
    )
    whole = (
        whole + torch.sigmoid(a).prod() + a.var() + a.std() + a.max() + a.min() + torch.median(a)
    )
    whole = whole + F.cosine_similarity(a, b, dim=0) + torch.special.ndtri(p * 0.9).sum()
    pyro.factor("f", parts.sum() + ends.sum() + whole)


@member(X, GROUP)
def indexing(x, g):
    a = pyro.sample("a", dist.Normal(torch.zeros(5), 1.0).to_event(1))
    b = pyro.sample("b", dist.Gamma(torch.ones(5) * 2, 1.0).to_event(1))
    parts = torch.zeros(5).scatter_add(0, g, x[:, 0] * a[g]) + torch.zeros(5).index_add(
        0, g, x[:, 1]
    )
    parts = parts + torch.zeros(5).index_put((torch.tensor([0, 2]),), a[:2], accumulate=True)
    h = torch.zeros(5)
    h[1:4] = a[1:4]
    h[0] += b[0]
    rest = (
        a.flip(0)[0]
        + torch.roll(a, 1)[0]
        + torch.gather(a, 0, g[:4]).sum()
        + a.unfold(0, 2, 1).sum()
    )
    rest = rest + torch.repeat_interleave(a, 2).sum() + torch.meshgrid(a, b, indexing="ij")[0].sum()
    rest = rest + torch.fft.rfft(a).abs().sum() + torch.bincount(g).float().sum()
    rest = rest + torch.searchsorted(torch.arange(5.0), torch.tensor(2.0)).float()
    pyro.factor("f", (parts + h).sum() + rest)
