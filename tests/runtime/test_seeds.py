"""Seeds of 64 bits."""

import jax
import jax.random as jr
import numpy as np
import pytest

from amortppl.runtime.seeds import fold_in, seed_key, split_key


def numbers(key):
    return tuple(jr.key_data(key).tolist())


@pytest.mark.parametrize("seed", [0, 1, 123456, 2**31 - 1])
def test_small_seeds_are_jaxs_own(seed):
    assert numbers(seed_key(seed)) == numbers(jr.key(seed))


def test_every_bit_counts():
    """Seeds that differ in one bit of 64, or in the sign, have keys of their own."""
    seeds = [
        0,
        -1,
        5,
        -5,
        *(1 << bit for bit in range(63)),
        -(1 << 63),
        *(5 + (1 << b) for b in range(32, 63)),
    ]
    keys = [numbers(seed_key(seed)) for seed in seeds]
    assert len(set(keys)) == len(set(seeds))
    assert numbers(seed_key(2**40 + 3)) == numbers(seed_key(2**40 + 3))


def test_under_jit():
    """The seed is a number of Python's; the key is the same."""
    assert numbers(jax.jit(lambda: seed_key(2**35 + 1))()) == numbers(seed_key(2**35 + 1))


@pytest.mark.parametrize("seed", [0, 7, 2**63 + 11])
def test_keys_made_by_numpy_are_jaxs(seed):
    key, index = seed_key(seed), np.array([0, 1, 2**31 + 5, 2**32 - 1], np.uint32)
    each = jax.vmap(lambda i: jr.fold_in(key, i))(index)
    apart = jax.vmap(lambda k: jr.split(k, 9))(each)
    assert numbers(fold_in(key, 3)) == numbers(jr.fold_in(key, 3))
    assert jr.key_data(fold_in(key, index)).tolist() == jr.key_data(each).tolist()
    assert jr.key_data(split_key(each, 9)).tolist() == jr.key_data(apart).tolist()
    inside = jax.jit(lambda k: split_key(fold_in(k, 3), 2))(key)
    assert jr.key_data(inside).tolist() == jr.key_data(jr.split(jr.fold_in(key, 3))).tolist()


def test_another_generator_makes_its_own_keys():
    with jax.default_prng_impl("rbg"):
        key = seed_key(5)
        assert numbers(key) == numbers(jr.key(5))
        assert numbers(fold_in(key, 3)) == numbers(jr.fold_in(jr.key(5), 3))
        assert jr.key_data(split_key(key, 3)).tolist() == jr.key_data(jr.split(key, 3)).tolist()
