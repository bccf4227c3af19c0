"""Hurdle counts whose draws take a fixed number of steps.

    P(0) = g,    P(k) = (1 - g) f(k) / (1 - f(0)),  k = 1, 2, ...

NumPyro's own redraw zeros of f until there are none, which does not end where f is nearly all zero,
as under draws from a prior. Densities are NumPyro's.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro.distributions as dist
from jaxtyping import Array, PRNGKeyArray
from numpyro.distributions.discrete import HurdleProbs


def positive_poisson(key: PRNGKeyArray, rate: Array) -> Array:
    """Draws from a Poisson distribution given that it is not zero.

    The first event of a unit interval is at T, P(T <= t | an event) = (1 - e^-rt) / (1 - e^-r);
    after it there are Poisson(r (1 - T)) more.
    """
    first, rest = jr.split(key)
    share = jr.uniform(first, rate.shape) * -jnp.expm1(-rate)
    left = jnp.maximum(rate + jnp.log1p(-share), 0.0)
    return 1 + jr.poisson(rest, left)


def logarithmic(key: PRNGKeyArray, share: Array) -> Array:
    """Draws from P(k) proportional to share^k / k (Kemp 1981, JRSS C 30)."""
    u, v = jr.uniform(key, (2, *share.shape), minval=1e-7, maxval=1.0)
    q = -jnp.expm1(u * jnp.log1p(-share))
    return 1 + jnp.floor(jnp.log(v) / jnp.minimum(jnp.log(q), -1e-7)).astype(jnp.int32)


def positive_negative_binomial(key: PRNGKeyArray, mean: Array, concentration: Array) -> Array:
    """Draws from a negative binomial distribution given that it is not zero.

    It is a sum of Poisson(r) logarithmic counts with share m / (m + a), r = a log(1 + m / a). One
    of them is there; those after it, Poisson(r - t) many, are negative binomial again.
    """
    first, one, rest = jr.split(key, 3)
    rate = concentration * jnp.log1p(mean / concentration)
    passed = jr.uniform(first, rate.shape) * -jnp.expm1(-rate)
    left = jnp.maximum(1.0 + jnp.log1p(-passed) / jnp.maximum(rate, 1e-30), 0.0)
    others = dist.NegativeBinomial2(
        jnp.maximum(left * mean, 1e-30), jnp.maximum(left * concentration, 1e-30)
    )
    share = jnp.clip(mean / (mean + concentration), 1e-7, 1.0 - 1e-7)
    return logarithmic(one, share) + jnp.where(left > 0.0, others.sample(rest), 0)


class _Hurdle(HurdleProbs):
    """A hurdle before a count distribution."""

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Zero with probability g, else a draw that is not zero."""
        assert key is not None
        shape = sample_shape + self.batch_shape
        closed = jr.bernoulli(jr.fold_in(key, 0), self.gate, shape)
        return jnp.where(closed, 0, self.positive(jr.fold_in(key, 1), shape))

    def positive(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        """Draws of the counts that are not zero."""
        raise NotImplementedError


class HurdlePoisson(_Hurdle):
    """Zero with probability `gate`, else Poisson(rate) given that it is not zero."""

    pytree_data_fields = ("rate",)

    def __init__(self, gate: Array, rate: Array, *, validate_args: bool | None = None) -> None:
        self.rate = jnp.asarray(rate)
        super().__init__(dist.Poisson(self.rate), gate, validate_args=validate_args)

    def positive(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        """See `positive_poisson`."""
        return positive_poisson(key, jnp.broadcast_to(self.rate, shape))


class HurdleNegativeBinomial2(_Hurdle):
    """Zero with probability `gate`, else NegativeBinomial2(mean, concentration) if not zero."""

    pytree_data_fields = ("level", "concentration")

    def __init__(
        self, gate: Array, mean: Array, concentration: Array, *, validate_args: bool | None = None
    ) -> None:
        self.level, self.concentration = jnp.asarray(mean), jnp.asarray(concentration)
        base = dist.NegativeBinomial2(self.level, self.concentration)
        super().__init__(base, gate, validate_args=validate_args)

    def positive(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        """See `positive_negative_binomial`."""
        mean, concentration = (jnp.broadcast_to(a, shape) for a in (self.level, self.concentration))
        return positive_negative_binomial(key, mean, concentration)
