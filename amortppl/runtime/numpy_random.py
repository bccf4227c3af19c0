"""What JAX's random primitives compute, in NumPy: other numbers than JAX's, of the same law.

A key is one number of 64 bits, so that arrays of keys have their own shape.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Rule = Callable[..., Any]


def generator_rule(key: Any, number: int = 0) -> np.random.Generator:
    """NumPy's generator of a key and a number."""
    return np.random.default_rng([int(key), number])


def fresh_rule(key: Any, number: int, shape: Sequence[int] = ()) -> Any:
    """New keys, from a key and a number."""
    return generator_rule(key, number).integers(0, 2**64, shape, dtype=np.uint64)


def each_key_rule(function: Rule, keys: Any, *more: Any) -> Any:
    """A function of one key (and more values) for each key of an array."""
    results = [
        np.asarray(function(k, *m))
        for k, *m in zip(*(b.ravel() for b in np.broadcast_arrays(keys, *more)), strict=True)
    ]
    lead = np.broadcast_shapes(*(np.shape(a) for a in (keys, *more)))
    return np.stack(results).reshape((*lead, *results[0].shape))


def random_bits_rule(keys: Any, bit_width: int, shape: Sequence[int], **_: Any) -> Any:
    """Uniform whole numbers of `bit_width` bits, of `shape` for each key."""
    kind = np.dtype(f"uint{bit_width}")
    return each_key_rule(
        lambda k: generator_rule(k).integers(0, 2**bit_width, shape, dtype=kind), keys
    )


def random_gamma_rule(keys: Any, alpha: Any, log_space: bool = False, **_: Any) -> Any:
    """Draws from Gamma(alpha, 1), or their logarithms, one for each entry of `alpha`."""
    keys = np.broadcast_to(keys.reshape(keys.shape + (1,) * (alpha.ndim - keys.ndim)), alpha.shape)
    places = np.arange(alpha.size).reshape(alpha.shape)
    drawn = each_key_rule(lambda k, i, a: generator_rule(k, int(i)).gamma(a), keys, places, alpha)
    return np.log(drawn) if log_space else drawn


def wrapped_rule(pairs: Any, **_: Any) -> Any:
    """Keys of pairs of 32 bits, as JAX stores them."""
    return pairs[..., 0].astype(np.uint64) << np.uint64(32) | pairs[..., 1].astype(np.uint64)


def unwrapped_rule(keys: Any, **_: Any) -> Any:
    """Pairs of 32 bits of keys."""
    return np.stack([keys >> np.uint64(32), keys & np.uint64(2**32 - 1)], -1).astype(np.uint32)
