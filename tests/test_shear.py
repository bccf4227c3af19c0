"""Coordinates of curved valleys: there and back, their slope, and states seen in others."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from amortppl.evidence import Natural
from amortppl.framed import State
from amortppl.shear import Shear
from amortppl.signals import Frame
from amortppl.third_order import Displaced

PLATED = (True, False, True, False)


def sheared(seed):
    second = jr.normal(jr.key(seed), (2, 2, 2))
    return Shear(jr.normal(jr.key(seed + 1), (2,)), second + jnp.swapaxes(second, 1, 2), PLATED)


def test_there_and_back_with_unit_jacobian():
    shear, at = sheared(0), jr.normal(jr.key(9), (5, 4))
    np.testing.assert_allclose(shear.straight(shear.bent(at)), at, atol=1e-5)
    np.testing.assert_allclose(shear.bent(at)[0], shear.bent(at[0]), atol=1e-6)
    slope = shear.slope(at[0])
    np.testing.assert_allclose(slope, jax.jacobian(shear.bent)(at[0]), atol=1e-5)
    np.testing.assert_allclose(shear.slope_back(at[0]) @ slope, jnp.eye(4), atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.det(slope), 1.0, atol=1e-5)
    np.testing.assert_array_equal(shear.bent(at)[:, 1::2], at[:, 1::2])


def test_none_changes_nothing():
    at = jnp.arange(4.0)
    np.testing.assert_array_equal(Shear.none().bent(at), at)
    np.testing.assert_array_equal(Shear.none(PLATED).bent(at), at)


@pytest.fixture
def state():
    rng, zero = np.random.default_rng(0), jnp.zeros(())
    square = lambda: jnp.asarray(rng.standard_normal((4, 4)), jnp.float32)  # noqa: E731
    frame = Frame(jnp.asarray(rng.standard_normal(4), jnp.float32), jnp.tril(square()) + 3 * jnp.eye(4))
    prior = square()
    displaced = Displaced(square()[0], prior + prior.T, zero)
    low, left = jnp.zeros(4), jnp.zeros(36)
    return State(
        frame, low, Natural(square()[0], prior @ prior.T), zero, low, left, zero, zero, zero, displaced, sheared(2)
    )


def log_densities(state, at):
    """Of the frame and of the prior's factor, at latents in prior units."""
    v = state.shear.straight(at)
    z = state.frame.whiten(v)
    linear, precision = state.prior
    return jnp.stack([-0.5 * z @ z + state.frame.log_scale(), linear @ v - 0.5 * v @ precision @ v])


def test_a_state_seen_in_other_coordinates(state):
    """Value and slope at its location are the same, the factor's up to a constant; and it is its own neighbour."""
    other, at = state.seen_in(sheared(4)), state.shear.bent(state.frame.location)
    np.testing.assert_allclose(other.shear.bent(other.frame.location), at, atol=1e-5)
    near = at + 1e-2 * jr.normal(jr.key(0), (20, 4))
    of = jax.vmap(log_densities, (None, 0))
    before, after = of(state, near) - log_densities(state, at), of(other, near) - log_densities(other, at)
    moved = jnp.abs(of(state._replace(shear=other.shear), near) - log_densities(state, at) - before)
    assert np.all(jnp.abs(after - before).mean(0) < 0.1 * moved.mean(0))
    np.testing.assert_allclose(
        jax.jacobian(log_densities, 1)(other, at), jax.jacobian(log_densities, 1)(state, at), atol=2e-3
    )
    back = other.seen_in(state.shear)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)
