"""Coordinates of curved funnels: there and back, their slopes, and states seen in others."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from amortppl.gaussian.filtering import Natural
from amortppl.gaussian.frame import Frame
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.funnel_fit import fit_funnel
from amortppl.gaussian.state import State
from amortppl.gaussian.third_order import Displaced

PLATED = (True, False, True, False)


def funnel_of(seed):
    keys = jr.split(jr.key(seed), 8)
    bend, axes = jr.normal(keys[0], (2, 2, 2)), jnp.eye(2) + 0.3 * jr.normal(keys[1], (2, 2))
    mode, moves, rates = (
        jr.normal(keys[2], (2,)),
        jr.normal(keys[3], (2, 2)),
        0.5 * jr.normal(keys[4], (2, 2)),
    )
    share = jr.uniform(keys[5], (2,))
    apart = jnp.array([True, False]), jr.normal(keys[7], (2, 3))
    bend = 0.3 * (bend + jnp.swapaxes(bend, 1, 2))
    return Funnel(jr.normal(keys[6], (2,)), axes, mode, moves, bend, share, rates, *apart, PLATED)


@eqx.filter_jit
def ask(funnel, name, at):
    """What a method of the funnel gives, as one program."""
    return getattr(funnel, name)(at)


def test_there_and_back():
    funnel, at = funnel_of(0), jr.normal(jr.key(9), (5, 4))
    np.testing.assert_allclose(ask(funnel, "inverse", ask(funnel, "forward", at)), at, atol=1e-5)
    ahead = ask(funnel, "forward", at)
    np.testing.assert_allclose(ahead[0], ask(funnel, "forward", at[0]), atol=1e-6)
    np.testing.assert_array_equal(ahead[:, 1::2], at[:, 1::2])


def test_slopes():
    funnel, at = funnel_of(0), jr.normal(jr.key(9), (5, 4))
    slopes, back, exact, volumes, there = jax.jit(
        lambda at: (
            jax.vmap(funnel.jacobian)(at),
            jax.vmap(funnel.inverse_jacobian)(at),
            jax.vmap(jax.jacrev(funnel.forward))(at),
            funnel.log_det(at),
            funnel.log_det(funnel.forward(at)),
        )
    )(at)
    np.testing.assert_allclose(back @ slopes, jnp.stack([jnp.eye(4)] * 5), atol=1e-5)
    np.testing.assert_allclose(slopes, exact, atol=1e-5)
    np.testing.assert_allclose(volumes, np.linalg.slogdet(exact)[1], atol=1e-5)
    np.testing.assert_allclose(there, volumes, atol=1e-6)


def test_none_changes_nothing():
    at = jnp.arange(4.0)
    for none in (Funnel.none(), Funnel.none(PLATED)):
        np.testing.assert_array_equal(none.forward(at), at)
        np.testing.assert_array_equal(none.inverse(at), at)
        assert none.log_det(at) == 0


def standardized(noise, y, mu, tau):
    """Modes and log widths of d_j ~ N(0, 1) given y_j ~ N(mu + tau d_j, noise^2)."""
    return (y - mu) * tau / (tau**2 + noise**2), -0.5 * jnp.log1p((tau / noise) ** 2) * jnp.ones(3)


def themselves(noise, y, mu, tau):
    """Modes and log widths of d_j ~ N(mu, tau^2) given y_j ~ N(d_j, noise^2)."""
    precision = 1 / tau**2 + 1 / noise**2
    return (mu / tau**2 + y / noise**2) / precision, -0.5 * jnp.log(precision) * jnp.ones(3)


@pytest.mark.parametrize("noise", [0.02, 0.3, 3.0])
@pytest.mark.parametrize(("effects_of", "rounding"), [(standardized, 2e-3), (themselves, 4e-3)])
def test_effects_of_a_normal_regression(effects_of, rounding, noise):
    """Modes, but for a few thousandths of a width, and widths are exact wherever mu and log tau
    are, from what they are
    around one place. Data tell nearly nothing of d in the last case, nearly all in the first."""
    y = jnp.array([1.0, -2.0, 0.5])

    def effects(at):
        return effects_of(noise, y, at[0], jnp.exp(at[1]))

    centre, axes, reach = jnp.array([0.2, -0.5]), jnp.array([[2.0, 0.5], [0.0, 1.5]]), 3**0.5
    units = jnp.linalg.inv(axes).T
    points = centre + reach * jnp.concatenate([units, -units])
    slopes = lambda at: jax.jacobian(lambda at: effects(at)[0])(at) @ units.T  # noqa: E731

    @jax.jit
    def fit():
        modes, widths = zip(effects(centre), jax.vmap(effects)(points), strict=True)
        moves = slopes(centre), jax.vmap(slopes)(points)
        funnel = fit_funnel(centre, axes, modes, moves, widths, (True,) * 3 + (False,) * 2)
        return funnel, modes, widths, moves

    funnel, modes, widths, moves = fit()
    for at in centre + jnp.array([[-1.0, -2.0], [1.0, 1.5], [0.5, -1.0]]):
        (mode, width), away = effects(at), axes @ (at - centre)
        line = jnp.append(modes[0] + moves[0] @ away, at)
        np.testing.assert_allclose(
            ask(funnel, "forward", line)[:3], mode, atol=rounding * np.exp(width).min()
        )
        np.testing.assert_allclose(
            jnp.diag(ask(funnel, "jacobian", line))[:3], jnp.exp(width - widths[0]), rtol=2e-3
        )


@pytest.mark.parametrize("share", [1e-6, 0.3, 1.0])
def test_far_out_a_mode_is_between_the_two(share):
    """Of which the location is at 1 and what data say at -1: whatever their precisions come to."""
    one, none = jnp.ones(1), jnp.zeros((1, 1))
    apart = jnp.array([True]), jnp.array([[2.0, 0.0]])
    mode, moves = one * (2 * share - 1), none + 2 * share * (1 - share)
    funnel = Funnel(
        none[0], jnp.eye(1), mode, moves, none[None], one * share, none + 1, *apart, (True, False)
    )
    t = jnp.linspace(-30.0, 30.0, 61)
    d = funnel.forward(jnp.stack([mode + t * moves[0], t], -1))[:, 0]
    weight = 1 / (1 + np.exp(-np.clip(t, -20, 20)) * (1 - share) / share)
    np.testing.assert_allclose(d, 2 * weight - 1, atol=2e-5)


def test_effects_without_data_stay_where_they_are():
    """Their modes and widths differ from their prior's by rounding, which must not grow."""
    rounding = 5e-5 * jr.normal(jr.key(0), (4, 5, 20))
    modes, widths, *moves = ((a[0], a[1:]) for a in rounding)
    moves = tuple(jnp.stack(a, -1) for a in zip(*moves, strict=True))
    plated = (True,) * 20 + (False,) * 2
    fit = jax.jit(lambda *given: fit_funnel(jnp.zeros(2), jnp.eye(2), *given, plated))
    funnel = fit(modes, moves, widths)
    for far in jnp.array([[8.0, 0.0], [-8.0, 0.0], [0.0, 8.0], [0.0, -8.0]]):
        at = jnp.append(jnp.linspace(-2.0, 2.0, 20), far)
        np.testing.assert_allclose(ask(funnel, "forward", at), at, atol=0.02)
        np.testing.assert_allclose(jnp.diag(ask(funnel, "jacobian", at)), 1.0, atol=1e-3)


@pytest.fixture
def state():
    rng, zero = np.random.default_rng(0), jnp.zeros(())
    square = lambda: jnp.asarray(rng.standard_normal((4, 4)), jnp.float32)  # noqa: E731
    frame = Frame(
        jnp.asarray(rng.standard_normal(4), jnp.float32), jnp.tril(square()) + 3 * jnp.eye(4)
    )
    prior = square()
    displaced = Displaced(square()[0], prior + prior.T, zero)
    low, left = jnp.zeros(4), jnp.zeros(36)
    return State(
        frame,
        low,
        Natural(square()[0], prior @ prior.T),
        zero,
        low,
        left,
        zero,
        zero,
        zero,
        displaced,
        funnel_of(2),
    )


def log_densities(state, at):
    """Of the frame and of the prior's factor, at latents in prior units."""
    v = state.funnel.inverse(at)
    z = state.frame.whiten(v)
    linear, precision = state.prior
    return jnp.stack([-0.5 * z @ z + state.frame.log_scale(), linear @ v - 0.5 * v @ precision @ v])


def test_a_state_seen_in_other_coordinates(state):
    """Value and slope at its location are the same, the factor's up to a constant; and it is its
    own neighbour.
    """
    other, at = state.in_coordinates(funnel_of(4)), state.funnel.forward(state.frame.location)
    np.testing.assert_allclose(other.funnel.forward(other.frame.location), at, atol=1e-5)
    near = at + 1e-2 * jr.normal(jr.key(0), (20, 4))
    of = jax.vmap(log_densities, (None, 0))
    before, after = (
        of(state, near) - log_densities(state, at),
        of(other, near) - log_densities(other, at),
    )
    moved = jnp.abs(
        of(state._replace(funnel=other.funnel), near) - log_densities(state, at) - before
    )
    assert np.all(jnp.abs(after - before).mean(0) < 0.1 * moved.mean(0))
    np.testing.assert_allclose(
        jax.jacobian(log_densities, 1)(other, at),
        jax.jacobian(log_densities, 1)(state, at),
        atol=2e-3,
    )
    back = other.in_coordinates(state.funnel)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)
