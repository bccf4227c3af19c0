"""The map from the real line to a support; of numbers that can be counted, rounding."""

import jax.numpy as jnp
from jaxtyping import Array
from numpyro.distributions import biject_to
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.transforms import IdentityTransform, Transform


class Rounding(IdentityTransform):
    """Real numbers to the nearest whole ones: how the states of a chain are handed on among
    numbers.
    """

    def __call__(self, x: Array) -> Array:
        return jnp.round(x).astype(jnp.int32)

    def _inverse(self, y: Array) -> Array:
        return jnp.asarray(y, jnp.float32)


def free_numbers(support: Constraint) -> Transform:
    """NumPyro's bijection from the real line to a support, or `Rounding` where it is discrete.

    >>> from numpyro.distributions import constraints
    >>> free_numbers(constraints.boolean)(jnp.array([0.0, 1.0])).dtype.name
    'int32'
    """
    discrete = getattr(support, "is_discrete", False)
    return Rounding() if discrete else biject_to(support)
