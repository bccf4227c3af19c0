"""A network that all latents share."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from amortppl.gaussian.shared_correction import SharedCorrection, along_axes
from amortppl.gaussian.summary import summary_size

SITES = (0, 1, 1, 1, 2)
SEEN = 4


def frame(location, factor, residual):
    """The last numbers of `describe`; residual is (1 + 2 P, P)."""
    lower = factor[np.tril_indices(len(location))]
    return jnp.asarray(np.concatenate([location, lower, residual.ravel()]))


def random_frame(order):
    """A frame whose axes are in some order; only the factor's diagonal is looked at."""
    random, size = np.random.default_rng(0), len(SITES)
    location, diagonal = random.normal(size=size), random.normal(size=size)
    centre, sides = random.normal(size=size), random.normal(size=(2, size, size))
    sides = sides[:, order][:, :, order].reshape(2 * size, size)
    residual = np.concatenate([centre[order][None], sides])
    return frame(location[order], np.diag(diagonal[order]), residual)


def test_what_belongs_to_an_axis():
    """r(z) = z_1^2 along axis 1 at +-2 is 4 both ways."""
    residual = np.zeros((5, 2))
    residual[2, 1] = residual[4, 1] = 4.0
    own = along_axes(frame(np.array([7.0, 8.0]), np.diag([2.0, 3.0]), residual), 2)
    assert own.tolist() == [[7, 2, 0, 0, 0, 0, 0], [8, 3, 0, 4, 4, 8, 4]]


def test_groups_in_another_order_have_their_coefficients_in_that_order():
    network = SharedCorrection(SEEN, SITES, jr.key(0))
    drawn = jnp.asarray(np.random.default_rng(1).normal(size=(4, 64)))
    last = network.network.layers[-1]
    object.__setattr__(last, "weight", drawn)
    seen, order = jnp.arange(4.0), [0, 3, 1, 2, 4]
    one, other = (
        network(jnp.concatenate([seen, random_frame(o)])).reshape(4, -1)
        for o in ([0, 1, 2, 3, 4], order)
    )
    assert np.ptp(np.asarray(one), axis=1).min() > 0.01
    np.testing.assert_allclose(other, one[:, np.array(order)], atol=1e-5)


def test_weights_do_not_depend_on_how_many_groups_there_are_and_begin_at_no_correction():
    few, many = (SharedCorrection(SEEN, (0, *[1] * n, 2), jr.key(0)) for n in (2, 30))
    assert few.network.in_size == many.network.in_size
    summary = jnp.ones(SEEN + summary_size(32))
    assert not many(summary).any() and many(summary).shape == (4 * 32,)
