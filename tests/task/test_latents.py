"""Named sites and their vector."""

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from amortppl.task.latents import Latents, entries

LAYOUT = Latents({"b": (2, 2), "a": (3,), "c": ()}, {"b": (2, 2), "a": (2,), "c": ()})


def test_round_trip():
    vector = jnp.arange(7.0)
    sites = LAYOUT.unflatten(vector)
    assert {n: v.shape for n, v in sites.items()} == {"a": (2,), "b": (2, 2), "c": ()}
    np.testing.assert_array_equal(LAYOUT.flatten(sites), vector)


def test_order_is_that_of_numpyros_kernels():
    sites = LAYOUT.unflatten(jnp.arange(7.0))
    np.testing.assert_array_equal(ravel_pytree(sites)[0], LAYOUT.flatten(sites))


def test_labels():
    assert LAYOUT.size == 7
    assert LAYOUT.labels() == ["a[0]", "a[1]", "b[0, 0]", "b[0, 1]", "b[1, 0]", "b[1, 1]", "c"]
    assert entries("x", ()) == ["x"]
