"""Times that are known up to a limit."""

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, PRNGKeyArray

NO_LIMIT = 1e30
"""The limit of a row whose time was observed: finite, and beyond all times."""


class CensoredAbove(dist.Distribution):
    """min(t, limit) with t ~ base: the density of t below the limit, log P(t > limit) at it.

    >>> round(float(CensoredAbove(dist.Exponential(2.0), 1.5).log_prob(1.5)), 3)
    -3.0
    """

    support = dist.constraints.positive
    pytree_data_fields = ("base", "limit")

    def __init__(
        self, base: dist.Distribution, limit: Array, *, validate_args: bool | None = None
    ) -> None:
        self.base, self.limit = base, limit
        shape = jnp.broadcast_shapes(base.batch_shape, jnp.shape(limit))
        super().__init__(shape, validate_args=validate_args)

    def sample(self, key: PRNGKeyArray | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """The time, or the limit where it is beyond."""
        return jnp.minimum(self.base.expand(self.batch_shape).sample(key, sample_shape), self.limit)

    def log_prob(self, value: Array) -> Array:
        """By whether the value is at the limit."""
        at_limit = value >= self.limit
        return jnp.where(at_limit, log_survival(self.base, value), self.base.log_prob(value))


def log_survival(base: dist.Distribution, value: Array) -> Array:
    """log P(t > value), in closed form: 1 - cdf has no digits left far out in 32 bits."""
    if isinstance(base, dist.Exponential):
        return -base.rate * value
    if isinstance(base, dist.Weibull):
        return -((value / base.scale) ** base.concentration)
    raise NotImplementedError(f"log survival of {type(base).__name__}")
