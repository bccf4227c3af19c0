"""Products of a row's numbers: what a network that is given the numbers finds slowly.

The statistics that rows of a linear model add up are sums of such products, x_j y and x_j x_k.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MOST = 10
"""Numbers of a row beyond which there would be too many products, and none is made."""

BOUND = 10.0
"""Beyond it products do not tell rows apart."""


def product_count(size: int) -> int:
    """How many products rows of so many numbers have."""
    return size * (size + 1) // 2 if size <= MOST else 0


def products(numbers: Float[Array, "N F"]) -> Float[Array, "N G"]:
    """Products of all pairs, a number and itself included; none of more than `MOST` numbers.

    Example:
        >>> products(jnp.array([[2.0, 3.0]])).tolist()
        [[4.0, 6.0, 9.0]]
    """
    size = numbers.shape[-1]
    if not product_count(size):
        return numbers[..., :0]
    first, second = np.triu_indices(size)
    return jnp.clip(numbers[..., first] * numbers[..., second], -BOUND, BOUND)
