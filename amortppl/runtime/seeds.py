"""Keys of random numbers from seeds of 64 bits."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PRNGKeyArray

LOW = 0xFFFFFFFF


def seed_key(seed: int) -> PRNGKeyArray:
    """The key of a seed; for seeds below 2^32 `jax.random.key(seed)`.

    Without 64-bit mode JAX drops what a seed has above 32 bits, so that 5 and 2^32 + 5 would give
    the same draws. Here these bits are folded in.

    Example:
        >>> one, other = (jr.key_data(seed_key(seed)) for seed in (5, 2**32 + 5))
        >>> bool((one == other).all())
        False
    """
    low, high = int(seed) & LOW, (int(seed) >> 32) & LOW
    key = jr.key(jnp.asarray(low, jnp.uint32))
    return jr.fold_in(key, jnp.asarray(high, jnp.uint32)) if high else key
