"""Episodes of the paper's tasks: what a row holds, what is held out, and clear errors."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from amortppl.models import causal_order_steps, flow_letters, flow_mixture, image_features

import amortppl as ap


@pytest.mark.parametrize("file", [flow_mixture, flow_letters])
def test_a_row_of_the_flow_holds_its_point(file):
    """at + (1 - t) velocity is a point of the shape, at - t velocity is standard normal noise."""
    keys = jr.split(jr.key(0), 500)
    draw = jax.jit(jax.vmap(lambda key: file.episodes(key, 8)))(keys)
    at, t, velocity = (np.asarray(draw[n]) for n in ("at", "t", "velocity"))
    noise = (at - t[..., None] * velocity).ravel()
    # 8000 draws of unit variance: 5 standard errors, so one correct program in 10^6 fails
    assert abs(noise.mean()) < 5 / 8000**0.5 and abs(noise.var() - 1) < 5 * (2 / 8000) ** 0.5
    point = at + (1 - t)[..., None] * velocity
    own = jax.jit(jax.vmap(lambda key: _points(file, jr.split(key)[1])))(keys)
    np.testing.assert_allclose(point, own, atol=1e-4)


def _points(file, key):
    return file.points(key, 8) if file is flow_mixture else file.points(key, 8, file.TRAINED)


def test_outlines_differ_and_no_letter_is_trained_on_and_held_out():
    clouds = flow_letters.outlines("ouvl")
    assert clouds.shape == (16, 400, 2) and np.isfinite(clouds).all()
    np.testing.assert_allclose(clouds.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(clouds[..., 1].std(1), 1, atol=1e-4)
    assert len({cloud.tobytes() for cloud in clouds}) == 16
    assert not set(flow_letters.TRAINED) & set(flow_letters.HELD_OUT)


def test_a_question_knows_the_nodes_before_its_own_and_no_more():
    """Of 30 questions one of five steps is missing once in 160 seeds."""
    draw = causal_order_steps.episodes(jr.key(2), 130)
    placed, node, asked = (np.asarray(draw[n]) for n in ("placed", "node", "asked"))
    assert (node[:100] == 5).all() and not placed[:100].any() and not asked[:100].any()
    assert (asked[100:] == 1).all() and not np.asarray(draw["values"])[100:].any()
    ranks = {int(p.sum()): int(n) for p, n in zip(placed[100:], node[100:], strict=True)}
    true = [ranks[s] for s in range(5)]
    for seen, after in zip(placed[100:], node[100:], strict=True):
        assert set(np.flatnonzero(seen)) == set(true[: int(seen.sum())])
        assert after == true[int(seen.sum())]


def test_the_first_node_of_the_order_is_noise_alone_and_later_ones_follow_it():
    """Of a chain with no noise but the first node's: every column is a multiple of the first."""
    order = jnp.array([3, 0, 4, 1, 2])
    table = np.asarray(causal_order_steps.table(jr.key(1), 2000, order, noise=jnp.eye(5)[0]))
    assert table[:, 3].std() > 0.5
    slopes = table.T @ table[:, 3] / (table[:, 3] @ table[:, 3])
    np.testing.assert_allclose(table, table[:, 3:4] * slopes, atol=1e-4)
    behind = np.asarray(causal_order_steps.table(jr.key(1), 2000, order, noise=jnp.eye(5)[2]))
    np.testing.assert_allclose(behind[:, [3, 0]], 0, atol=1e-6)  # causes do not follow effects


def test_decoding_takes_the_likeliest_node_that_is_left():
    rising = jnp.arange(5.0) / 10
    assert causal_order_steps.decode(lambda placed: rising).tolist() == [4, 3, 2, 1, 0]


def test_image_classes_differ_between_training_and_shift():
    task, other = ap.model("image_features"), ap.model("image_features:other_digits")
    own, shifted = (t.simulate(jr.key(0), 600).data for t in (task, other))
    assert set(np.asarray(own["y"])) == {0, 1, 2} == set(np.asarray(shifted["y"]))
    x = np.asarray(image_features.resampled(jr.key(1), 4000))
    # Unit variance over the pool: 4000 draws of it, kurtosis below 6, 5 standard errors
    np.testing.assert_allclose(x.var(0), 1, atol=5 * (5 / 4000) ** 0.5)
    rows = {row.tobytes() for row in np.asarray(own["x"])}
    assert not rows & {row.tobytes() for row in np.asarray(shifted["x"])}


def test_fashion_mnist_that_is_not_there_says_where_it_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    image_features._fashion.cache_clear()
    with pytest.raises(FileNotFoundError, match="variable FASHION_MNIST names, or from Debian"):
        image_features.fashion(jr.key(0), 10)
