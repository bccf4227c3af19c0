"""What JAX's random primitives compute, in NumPy: bits, splits and folds of Threefry keys are JAX's
own, bit for bit; gamma variables are other numbers of the same law.

A key is one number of 64 bits, so that arrays of keys have their own shape.

Leans on how JAX makes bits from Threefry keys where `jax_threefry_partitionable` is on (JAX
0.12.0.1); tests/runtime/test_numpy_evaluation.py compares them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from amortppl.runtime.seeds import LOW, threefry


def _encrypted(keys: Any, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Two words of 32 bits for each entry of `shape` and each key: the entry's number encrypted."""
    keys = np.asarray(keys)
    counts = np.arange(np.prod(shape, dtype=np.uint64), dtype=np.uint64).reshape(shape)
    lead = keys.reshape(keys.shape + (1,) * len(shape))
    return threefry(unwrapped_rule(lead), *_words(counts))


def _words(numbers: Any) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower 32 bits."""
    numbers = np.asarray(numbers).astype(np.uint64)
    return (numbers >> np.uint64(32)).astype(np.uint32), (numbers & np.uint64(LOW)).astype(
        np.uint32
    )


def random_bits_rule(keys: Any, bit_width: int, shape: Sequence[int], **_: Any) -> np.ndarray:
    """Uniform whole numbers of `bit_width` bits, of `shape` for each key."""
    high, low = _encrypted(keys, shape)
    if bit_width == 64:
        return _joined(high, low)
    return (high ^ low).astype(f"uint{bit_width}")


def random_split_rule(keys: Any, shape: Sequence[int], **_: Any) -> np.ndarray:
    """New keys of `shape` for each key."""
    return _joined(*_encrypted(keys, shape))


def random_fold_in_rule(keys: Any, data: Any, **_: Any) -> np.ndarray:
    """A new key of each key and number."""
    keys, data = np.broadcast_arrays(keys, np.asarray(data).astype(np.uint32))
    return _joined(*threefry(unwrapped_rule(keys), np.zeros_like(data), data))


def random_gamma_rule(keys: Any, alpha: Any, log_space: bool = False, **_: Any) -> np.ndarray:
    """Draws from Gamma(alpha, 1), or their logarithms, one for each entry of `alpha`."""
    keys = np.broadcast_to(keys.reshape(keys.shape + (1,) * (alpha.ndim - keys.ndim)), alpha.shape)
    drawn = [
        np.random.default_rng([int(k), i]).gamma(a)
        for i, (k, a) in enumerate(zip(keys.ravel(), alpha.ravel(), strict=True))
    ]
    drawn = np.reshape(np.asarray(drawn, np.float64), alpha.shape)
    return np.log(drawn) if log_space else drawn


def random_seed_rule(seeds: Any, **_: Any) -> np.ndarray:
    """The keys of seeds."""
    return np.asarray(seeds).astype(np.uint64)


def wrapped_rule(pairs: Any, **_: Any) -> np.ndarray:
    """Keys of pairs of 32 bits, as JAX stores them."""
    return _joined(pairs[..., 0], pairs[..., 1])


def unwrapped_rule(keys: Any, **_: Any) -> np.ndarray:
    """Pairs of 32 bits of keys."""
    return np.stack(_words(keys), -1)


def _joined(high: Any, low: Any) -> np.ndarray:
    return high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)
