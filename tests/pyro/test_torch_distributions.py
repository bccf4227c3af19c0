"""Distributions that only torch has, and every random operation of torch: density and draws against
torch's own.
"""

import pytest

pytest.importorskip("torch", reason="the extra `pyro` is not installed")

import jax.random as jr
import numpy as np
import pyro.distributions as dist
import torch
from scipy.stats import ks_2samp

from amortppl.errors import ModelError
from amortppl.pyro import accept, torch_distributions
from amortppl.pyro.environment import to_jax

EXAMPLES = {
    "ContinuousBernoulli": lambda: dist.ContinuousBernoulli(torch.tensor([0.1, 0.7])),
    "DiscreteHMM": lambda: dist.DiscreteHMM(
        torch.zeros(2),
        torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        dist.Normal(torch.tensor([-1.0, 1.0]), 1.0),
        duration=4,
    ),
    "FisherSnedecor": lambda: dist.FisherSnedecor(torch.tensor(3.0), torch.tensor([5.0, 8.0])),
    "GaussianHMM": lambda: dist.GaussianHMM(
        dist.Normal(0.0, 1.0).expand([1]).to_event(1),
        torch.eye(1),
        dist.Normal(torch.zeros(3, 1), 0.5).to_event(1),
        torch.eye(1),
        dist.Normal(torch.zeros(3, 1), 0.3).to_event(1),
    ),
    "MaskedMixture": lambda: dist.MaskedMixture(
        torch.tensor([True, False]),
        dist.Normal(torch.zeros(2), 1.0),
        dist.Gamma(torch.ones(2) * 2, 1.0),
    ),
    "NanMaskedMultivariateNormal": lambda: dist.NanMaskedMultivariateNormal(
        torch.zeros(2), torch.eye(2)
    ),
    "NanMaskedNormal": lambda: dist.NanMaskedNormal(torch.zeros(2), 1.0),
    "OneHotCategorical": lambda: dist.OneHotCategorical(torch.tensor([0.2, 0.5, 0.3])),
    "RelaxedOneHotCategorical": lambda: dist.RelaxedOneHotCategorical(
        torch.tensor(0.7), torch.tensor([0.2, 0.5, 0.3])
    ),
    "SkewLogistic": lambda: dist.SkewLogistic(0.0, 1.0, torch.tensor(2.0)),
}


def test_all_are_here():
    assert set(EXAMPLES) == torch_distributions.CHECKED


@pytest.mark.parametrize("name", EXAMPLES)
def test_density_and_sampler(name):
    """A right one fails with probability at most 1e-6 for each of its coordinates."""
    torch_distributions.check(EXAMPLES[name]())


class Shifted(dist.Normal):
    """A class of a user's own, right under JAX."""

    def log_prob(self, value):
        return super().log_prob(value)


class Broken(dist.Normal):
    """Its sampler takes numbers where the bridge cannot see, so that its draws differ from
    torch's.
    """

    def rsample(self, sample_shape=()):
        draws = super().rsample(sample_shape)
        return draws if hasattr(draws, "jax") else 2 * draws


def test_a_class_of_ones_own_is_accepted_after_the_check():
    assert not torch_distributions.is_accepted(Shifted(0.0, 1.0))
    accept(Shifted(torch.tensor(0.0), torch.tensor(1.0)))
    assert torch_distributions.is_accepted(Shifted(0.0, 1.0))
    torch_distributions._ACCEPTED.discard(Shifted)


def test_a_wrong_sampler_is_refused():
    with pytest.raises(ModelError, match="draws under JAX"):
        accept(Broken(torch.tensor(0.0), torch.tensor(1.0)))
    assert not torch_distributions.is_accepted(Broken(0.0, 1.0))


RANDOM = {
    "rand": lambda n: torch.rand(n),
    "randn": lambda n: torch.randn((n,)),
    "randint": lambda n: torch.randint(2, 9, (n,)),
    "rand_like": lambda n: torch.rand_like(torch.zeros(n)),
    "randn_like": lambda n: torch.randn_like(torch.zeros(n)),
    "randint_like": lambda n: torch.randint_like(torch.zeros(n), 5),
    "normal": lambda n: torch.normal(torch.ones(n), 2.0),
    "normal_size": lambda n: torch.normal(1.0, 2.0, (n,)),
    "bernoulli": lambda n: torch.bernoulli(torch.full((n,), 0.3)),
    "poisson": lambda n: torch.poisson(torch.full((n,), 3.0)),
    "binomial": lambda n: torch.binomial(torch.full((n,), 9.0), torch.full((n,), 0.4)),
    "multinomial": lambda n: torch.multinomial(torch.tensor([1.0, 2.0, 5.0]), n, replacement=True),
    "without_replacement": lambda n: torch.multinomial(
        torch.tensor([[1.0, 2.0, 5.0]]).expand(n, 3), 2
    )[:, 1],
    "gamma": lambda n: torch._standard_gamma(torch.full((n,), 2.0)),
    "dirichlet": lambda n: torch._sample_dirichlet(torch.tensor([1.0, 2.0]).expand(n, 2))[:, 0],
    "normal_": lambda n: torch.empty(n).normal_(1.0, 3.0),
    "uniform_": lambda n: torch.empty(n).uniform_(-1.0, 3.0),
    "exponential_": lambda n: torch.empty(n).exponential_(2.0),
    "cauchy_": lambda n: torch.empty(n).cauchy_(1.0, 2.0),
    "log_normal_": lambda n: torch.empty(n).log_normal_(0.5, 0.3),
    "geometric_": lambda n: torch.empty(n).geometric_(0.3),
    "bernoulli_": lambda n: torch.empty(n).bernoulli_(0.2),
    "random_": lambda n: torch.empty(n).random_(3, 8),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_operations(name):
    """A right one fails with probability 1e-6 (two-sample Kolmogorov-Smirnov, 4000 draws)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = RANDOM[name](4000).numpy()
    with torch_distributions.computing(jr.key(0)):
        ours = np.asarray(to_jax(RANDOM[name](4000)))
    assert ours.shape == theirs.shape
    assert len(np.unique(ours)) > 1
    assert ks_2samp(ours, theirs).pvalue > 1e-6


def test_permutations_are_of_all_numbers():
    with torch_distributions.computing(jr.key(0)):
        permutation = np.asarray(to_jax(torch.randperm(50)))
    np.testing.assert_array_equal(np.sort(permutation), np.arange(50))
    assert not np.array_equal(permutation, np.arange(50))
