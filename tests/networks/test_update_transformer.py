"""The update transformer: any number of tokens and rows, padding, order, and what may look at
what.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from amortppl.networks.update_transformer import ROWS, STATES, UpdateTransformer, prefix_masks
from amortppl.runtime.numpy_evaluation import construct
from conjugate import shaken

F, R, S, B = 3, 4, 5, 7


def net(**options):
    """With an output that is not zero."""
    make = partial(UpdateTransformer, F, R, 2, width=8, heads=2, **options)
    return eqx.filter_jit(shaken(construct(lambda: make(jr.key(0))), 0.3))


def drawn(states=S, rows=B):
    return jr.normal(jr.key(1), (states, F)), jr.normal(jr.key(2), (rows, R)), jnp.ones(rows, bool)


def test_it_starts_at_zero():
    net = construct(lambda: UpdateTransformer(F, R, 2, jr.key(0)))
    assert (eqx.filter_jit(net)(*drawn()) == 0).all()


@pytest.mark.parametrize("rows_see", [(), (ROWS,), (STATES,), (ROWS, STATES)])
def test_padding_and_order_of_rows_change_nothing(rows_see):
    update, (states, rows, mask) = net(rows_see=rows_see), drawn()
    was = update(states, rows, mask)
    np.testing.assert_allclose(update(states, rows[::-1], mask), was, atol=1e-5)
    padded = jnp.concatenate([rows, jnp.full((3, R), 50.0)])
    np.testing.assert_allclose(update(states, padded, jnp.arange(B + 3) < B), was, atol=1e-5)
    assert np.isfinite(update(states, rows, jnp.zeros(B, bool))).all()


@pytest.mark.slow
def test_the_same_weights_serve_other_numbers():
    assert net()(*drawn(50, 90)).shape == (50, 2)
    assert np.isfinite(net()(*drawn(1, 1))).all()


def test_queries_do_not_see_one_another_and_latents_do():
    states, rows, mask = drawn()
    other = states.at[1].set(9.0)
    alone, mixed = net(states_mix=False, rows_see=(ROWS,)), net()
    np.testing.assert_allclose(alone(other, rows, mask)[0], alone(states, rows, mask)[0], atol=1e-6)
    assert abs(mixed(other, rows, mask)[0] - mixed(states, rows, mask)[0]).max() > 1e-3
    with pytest.raises(ValueError, match="would carry one state to another"):
        net(states_mix=False)


@pytest.mark.slow
def test_many_masks_in_one_pass_are_those_one_by_one():
    update, (states, rows, mask) = net(rows_see=()), drawn()
    masks = prefix_masks(mask.at[-1].set(False), jnp.array([1.0, 4.0, 99.0]))
    assert masks.sum(1).tolist() == [1, 4, 6]
    many = jax.vmap(update, (None, None, 0))(states, rows, masks)
    one = [update(states, rows[: int(m.sum())], jnp.ones(int(m.sum()), bool)) for m in masks]
    np.testing.assert_allclose(many, jnp.stack(one), atol=1e-5)


def test_pairs_and_codes_are_seen():
    update, given = net(pairs=1), drawn()
    was = update(*given)
    assert abs(update(*given, codes=jnp.ones((S, 8))) - was).max() > 1e-3
    pairs = jnp.zeros((S, S, 1)).at[0, 1].set(2.0)
    near = update(*given, pairs=pairs)
    assert abs(near - was)[0].max() > 1e-3


def test_edges_carry_messages_of_rows_to_the_state_they_belong_to():
    update, (states, rows, mask) = net(edges=1, rows_see=(), layers=1), drawn()
    edges = jnp.zeros((S, B, 1)).at[0, 1].set(2.0)
    was, now = update(states, rows, mask), update(states, rows, mask, edges=edges)
    assert abs(now - was)[0].max() > 1e-3
    np.testing.assert_allclose(now[1:], was[1:], atol=1e-5)
