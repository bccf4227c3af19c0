"""Learned bindings can hold the gradient of a linear model."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from amortppl.networks.row_binding import LENGTH, RowBinding


def test_with_the_right_weights_it_is_the_gradient_of_a_line():
    """Codes are unit vectors, edges x_j, residuals y - x'm: then slopes are x_j (y - x'm)."""
    rng = np.random.default_rng(0)
    x, y, m = rng.normal(size=(6, 2)), rng.normal(size=6), rng.normal(size=2)
    like = RowBinding(width=2, rows=3, edges=1, key=jr.key(0))
    parts = np.eye(2, 4)[None], np.array([[0.0, 0.0, 1.0, 0.0]]), np.array([-1.0])
    binding = eqx.tree_at(lambda b: (b.bind, b.read, b.back), like, parts)
    edges, slopes = binding(jnp.eye(2), jnp.asarray(np.c_[x, y]), jnp.asarray(m))
    np.testing.assert_allclose(edges[..., 0].T * LENGTH, x, rtol=1e-5)
    np.testing.assert_allclose(slopes, x * (y - x @ m)[:, None], rtol=1e-4, atol=1e-5)
