"""Random keys of datasets from their names.

A dataset's draws depend on the seed and on its name, not on which others lie beside it: so the
answers of many workers are those of one.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array


def keys_of(names: Sequence[Any], seed: int) -> Array:
    """A key for each name, (T,).

    Example:
        >>> a, b = keys_of(["ann", "bob"], 0), keys_of(["bob"], 0)
        >>> bool((jr.key_data(a)[1] == jr.key_data(b)[0]).all())
        True
    """
    return _fold(jr.key(seed), jnp.asarray(_words(names)))


def _words(names: Iterable[Any]) -> np.ndarray:
    """Two 32-bit words for each name, (T, 2)."""
    digests = [blake2b(f"{type(n).__name__}:{n}".encode(), digest_size=8).digest() for n in names]
    return np.frombuffer(b"".join(digests), np.uint32).reshape(-1, 2)


@jax.jit
def _fold(key: Array, words: Array) -> Array:
    return jax.vmap(lambda w: jr.fold_in(jr.fold_in(key, w[0]), w[1]))(words)
