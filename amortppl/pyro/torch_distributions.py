"""Distributions that only torch has: accepted after their density and sampler were checked.

Their code runs in torch on JAX arrays. Operations of torchax may be silently wrong, so a class is
taken only when, on an example, its log density there equals torch's and its draws come from the
same law.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as jax_dist
import pyro.distributions as dist
import torch
from scipy.stats import ks_2samp

from amortppl.errors import ModelError
from amortppl.pyro.environment import bridge, to_jax, to_torch
from amortppl.pyro.isolation import alone
from amortppl.pyro.run import Run
from amortppl.pyro.supports import to_numpyro_support
from amortppl.runtime.seeds import seed_key

CHECKED = {
    "ContinuousBernoulli",
    "DiscreteHMM",
    "FisherSnedecor",
    "GaussianHMM",
    "MaskedMixture",
    "NanMaskedMultivariateNormal",
    "NanMaskedNormal",
    "OneHotCategorical",
    "RelaxedOneHotCategorical",
    "SkewLogistic",
}
"""Classes of Pyro that tests/pyro/test_torch_distributions.py puts through `check`."""

_ACCEPTED: set[type] = set()

ALPHA = 1e-6
"""Share of right samplers refused, of each coordinate, by a two-sample Kolmogorov-Smirnov test."""


def is_accepted(d: Any) -> bool:
    """Whether a distribution's class was checked."""
    kind = type(d)
    return kind in _ACCEPTED or (
        kind.__name__ in CHECKED and getattr(dist, kind.__name__, None) is kind
    )


def accept(example: Any, draws: int = 4000, seed: int = 0) -> None:
    """Accepts the class of a distribution in models from now on, after checking it.

    Args:
        example: a distribution of that class, with numbers as parameters.
        draws: how many draws the two samplers are compared by.
        seed: of these draws.

    Raises:
        ModelError: the density or the sampler differ.
    """
    check(example, draws, seed)
    _ACCEPTED.add(type(example))


def check(example: Any, draws: int = 4000, seed: int = 0) -> None:
    """Compares a distribution under JAX with torch's own.

    The log density must agree within 1e-4 + 1e-4 |log p| at 100 draws of torch's; the draws,
    coordinate by coordinate, must pass a Kolmogorov-Smirnov test, which refuses a right sampler
    with probability at most 1e-6 times the number of coordinates.

    Raises:
        ModelError: they differ.
    """
    name, bridged = type(example).__name__, Torch(example)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        theirs = (example.rsample if example.has_rsample else example.sample)(torch.Size([draws]))
        expected = example.log_prob(theirs[:100])
    density = np.asarray(bridged.log_prob(jnp.asarray(theirs[:100].numpy())))
    gap = np.max(np.abs(density - expected.numpy()) / (1 + np.abs(expected.numpy())))
    if not gap < 1e-4:
        raise ModelError(f"{name}: its log density under JAX differs from torch's by {gap:.2g}")
    ours = np.asarray(bridged.sample(seed_key(seed), (draws,))).reshape(draws, -1)
    worst = min(
        ks_2samp(a, b).pvalue
        for a, b in zip(ours.T, theirs.numpy().reshape(draws, -1).T, strict=True)
    )
    if not worst > ALPHA:
        raise ModelError(
            f"{name}: its draws under JAX are not from torch's law (p-value {worst:.1g})"
        )


@contextmanager
def computing(key: jax.Array | None = None) -> Iterator[None]:
    """Torch on JAX arrays, outside the run of a model."""
    environment = bridge()
    kept = environment.run

    def refuse(message: Any) -> None:
        raise ModelError(
            f"site '{message['name']}' inside a distribution: expected no Pyro statement there"
        )

    with alone(refuse):
        environment.run = Run(_key=key)
        try:
            with environment:
                yield
        finally:
            environment.run = kept


class Torch(jax_dist.Distribution):
    """A distribution of torch, computed by torch on JAX arrays."""

    def __init__(self, d: Any) -> None:
        self.torch = d
        super().__init__(tuple(d.batch_shape), tuple(d.event_shape), validate_args=False)

    @property
    def support(self) -> Any:
        """NumPyro's counterpart of its support."""
        return to_numpyro_support(self.torch.support)

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through its draws."""
        return bool(self.torch.has_rsample)

    @property
    def is_discrete(self) -> bool:
        """Whether its values can be counted."""
        return bool(self.support.is_discrete)

    @property
    def has_enumerate_support(self) -> bool:
        """Whether its values can be listed."""
        return bool(getattr(self.torch, "has_enumerate_support", False))

    def enumerate_support(self, expand: bool = True) -> Any:
        """All values."""
        with computing():
            return to_jax(self.torch.enumerate_support(expand=expand))

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws, from torch's algorithm with JAX's random numbers."""
        draw = self.torch.rsample if self.torch.has_rsample else self.torch.sample
        with computing(key):
            return to_jax(draw(torch.Size(sample_shape)))

    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        """Log density or probability."""
        with computing():
            return to_jax(self.torch.log_prob(to_torch(value)))

    def expand(self, batch_shape: tuple[int, ...]) -> Any:
        """Independent copies."""
        with computing():
            return Torch(self.torch.expand(torch.Size(batch_shape)))
