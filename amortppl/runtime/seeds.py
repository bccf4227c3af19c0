"""Keys of random numbers from seeds of 64 bits, made by NumPy.

`jax.random.key`, `fold_in` and `split` outside a program compile one each, 0.1 s at the first
answer. Here the same keys are computed by NumPy: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror
and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"). Where another generator is chosen
(`jax_default_prng_impl`, or `jax_threefry_partitionable` off), or inside a program, JAX's own
functions make the keys.

Leans on how JAX folds and splits Threefry keys (JAX 0.12.0.1); tests/runtime/test_seeds.py compares
them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

LOW = 0xFFFFFFFF

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


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
    if _by_numpy():
        key = jr.wrap_key_data(np.array([0, low], np.uint32))
    else:
        key = jr.key(jnp.asarray(low, jnp.uint32))
    return fold_in(key, high) if high else key


def fold_in(key: PRNGKeyArray, number: Any) -> PRNGKeyArray:
    """`jax.random.fold_in` of a key and a number, or of a key and many numbers (T,).

    Example:
        >>> one = fold_in(seed_key(0), 3)
        >>> bool(jr.key_data(one).tolist() == jr.key_data(jr.fold_in(jr.key(0), 3)).tolist())
        True
    """
    if not _by_numpy(key, number):
        many = jnp.asarray(number, jnp.uint32)
        return (
            jnp.vectorize(lambda n: jr.fold_in(key, n))(many)
            if many.ndim
            else jr.fold_in(key, many)
        )
    first, second = threefry(np.asarray(jr.key_data(key)), np.zeros_like(number), number)
    return jr.wrap_key_data(np.stack([first, second], -1))


def split_key(keys: PRNGKeyArray, count: int) -> PRNGKeyArray:
    """`jax.random.split` of each of some keys (...) into `count`, (..., count)."""
    if not _by_numpy(keys):
        return jnp.vectorize(lambda k: jr.split(k, count), signature="()->(n)")(keys)
    data = np.asarray(jr.key_data(keys))[..., None, :]
    numbers = np.broadcast_to(np.arange(count), (*data.shape[:-2], count))
    return jr.wrap_key_data(np.stack(threefry(data, np.zeros_like(numbers), numbers), -1))


def pick_key(keys: PRNGKeyArray, place: int | slice) -> PRNGKeyArray:
    """One or several of some keys (T,), without the programs that indexing compiles."""
    if not _by_numpy(keys):
        return keys[place]
    return jr.wrap_key_data(np.asarray(jr.key_data(keys))[place])


def join_keys(*keys: PRNGKeyArray) -> PRNGKeyArray:
    """Keys (T_i,) one after another."""
    if not _by_numpy(*keys):
        return jnp.concatenate(keys)
    return jr.wrap_key_data(np.concatenate([np.asarray(jr.key_data(k)) for k in keys]))


def usual_keys() -> bool:
    """Whether keys and the bits made from them are those that JAX makes unless told otherwise."""
    partitionable = bool(jax.config.jax_threefry_partitionable)
    return partitionable and jax.config.jax_default_prng_impl == "threefry2x32"


def _by_numpy(*values: Any) -> bool:
    """Whether keys are JAX's usual ones, and nothing is traced."""
    return usual_keys() and not any(isinstance(v, jax.core.Tracer) for v in values)


def threefry(key: np.ndarray, first: Any, second: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two counts (...) of 32 bits encrypted with keys (..., 2)."""
    one, two = key[..., 0].astype(np.uint32), key[..., 1].astype(np.uint32)
    keys = (one, two, one ^ two ^ PARITY)
    with np.errstate(over="ignore"):
        x, y = np.asarray(first, np.uint32) + one, np.asarray(second, np.uint32) + two
        for round_ in range(5):
            for bits in ROTATIONS[round_ % 2]:
                x += y
                y = (y << np.uint32(bits) | y >> np.uint32(32 - bits)) ^ x
            x += keys[(round_ + 1) % 3]
            y += keys[(round_ + 2) % 3] + np.uint32(round_ + 1)
    return x, y
