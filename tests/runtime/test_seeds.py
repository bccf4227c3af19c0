"""Seeds of 64 bits."""

import jax
import jax.random as jr
import pytest

from amortppl.runtime.seeds import seed_key


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
