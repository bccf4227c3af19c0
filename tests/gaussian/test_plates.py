"""Which latents are independent of one another given the rest, and Hessians by fewer products."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.fit import frame_method
from amortppl.gaussian.arrow import Arrow
from amortppl.gaussian.plate_detection import in_plates, plates_of
from amortppl.gaussian.plates import Plates

GROUPS = 5
INPUTS = {n: dist.Categorical(logits=jnp.zeros(GROUPS)) for n in ("a", "b")}


def simple(a, b, y=None):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("group", GROUPS):
        effect = numpyro.sample("effect", dist.Normal(0.0, scale))
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", a.shape[0]):
        numpyro.sample("y", dist.Normal(effect[a] + slope[a] * b, 1.0), obs=y)


def pairs(a, b, y=None):
    """A row is of two groups."""
    with numpyro.plate("group", GROUPS):
        effect = numpyro.sample("effect", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("row", a.shape[0]):
        numpyro.sample("y", dist.Normal(effect[a] - effect[b], sigma), obs=y)


def crossed(a, b, y=None):
    """A row is of a group of each of two plates."""
    with numpyro.plate("left", GROUPS):
        left = numpyro.sample("left_effect", dist.Normal(0.0, 1.0))
    with numpyro.plate("right", GROUPS):
        right = numpyro.sample("right_effect", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("row", a.shape[0]):
        numpyro.sample("y", dist.Normal(left[a] + right[b], sigma), obs=y)


def within(a, b, y=None):
    """Groups within schools: those of a school share its effect."""
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("school", 2, dim=-1):
        school = numpyro.sample("school_effect", dist.Normal(0.0, 1.0))
        with numpyro.plate("class", GROUPS, dim=-2):
            group = numpyro.sample("class_effect", dist.Normal(school, 1.0))
    with numpyro.plate("row", a.shape[0]):
        numpyro.sample("y", dist.Normal(group[a, b % 2], sigma), obs=y)


def by_index(a, b, y=None):
    """Groups within schools again, the school of each by an index."""
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("schools", 2):
        school = numpyro.sample("school_effect", dist.Normal(0.0, 1.0))
    with numpyro.plate("classes", GROUPS):
        group = numpyro.sample("class_effect", dist.Normal(school[np.arange(GROUPS) // 3], 1.0))
    with numpyro.plate("row", a.shape[0]):
        numpyro.sample("y", dist.Normal(group[a], sigma), obs=y)


def task_of(model):
    return ap.Task(model, INPUTS, rows=(4, 128))


@pytest.mark.parametrize(
    ("model", "parts", "sets"),
    [
        (simple, [*range(GROUPS), -1, *range(GROUPS)], 2),  # effect, scale, slope
        (pairs, [0] * GROUPS + [-1], GROUPS),
        (crossed, [0] * 2 * GROUPS + [-1], 2 * GROUPS),
        (
            within,
            [0, 1] * (GROUPS + 1) + [-1],
            GROUPS + 1,
        ),  # class_effect (class, school), school_effect, sigma
        (by_index, [0, 0, 0, 1, 1, 0, 1, -1], 4),
    ],
)
def test_parts_of_latents_in_plates(model, parts, sets):
    task = task_of(model)
    plates = plates_of(task)
    assert list(plates.parts) == parts
    assert len(plates.independent_sets) == sets
    np.testing.assert_array_equal(plates.plated, in_plates(task))
    np.testing.assert_array_equal(plates.independent_sets.sum(0), 1)  # each once


SLOW = pytest.mark.slow


@pytest.mark.parametrize("model", [pairs, pytest.param(within, marks=SLOW)])
def test_hessian_from_products_is_the_hessian(model):
    task = task_of(model)
    draw, plates = task.simulate(jr.key(0), 128), plates_of(task)

    def joint(at):
        prior, rows = task.log_densities(at, draw.data)
        return prior + rows.sum()

    product = jax.jit(
        jax.vmap(lambda along: jax.jvp(jax.grad(joint), (draw.latents,), (along,))[1])
    )
    of_g, across, of_d = plates.blocks(product(jnp.asarray(plates.directions)))
    rows = plates.join(of_g, across), plates.join(across.T, plates.dense(of_d))
    bend = plates.join(rows[0].T, rows[1].T)
    np.testing.assert_allclose(
        bend, -jax.jit(jax.hessian(joint))(draw.latents), rtol=1e-4, atol=1e-3
    )


def test_arrows_are_their_matrix():
    """Of parts of unequal size, against dense algebra in 32 bits."""
    plates = Plates((0, -1, 1, 0, 2, -1, 2, 2))
    part = np.array(plates.parts)
    apart = (part[:, None] != part) & (part >= 0) & (part[:, None] >= 0)
    matrix = np.random.default_rng(0).normal(size=(8, 8))
    matrix = np.where(apart, 0.0, matrix @ matrix.T) + 9 * np.eye(8)
    arrow = Arrow.clip(plates, -jnp.asarray(matrix @ plates.directions.T, jnp.float32), 1e-3)
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(jax.vmap(arrow.solve)(jnp.eye(8)), inverse, atol=1e-6)
    half = np.array(jax.vmap(arrow.spread)(jnp.eye(8)), float)
    np.testing.assert_allclose(half.T @ half, inverse, atol=1e-6)
    assert float(arrow.log_det()) == pytest.approx(np.linalg.slogdet(matrix)[1], abs=1e-4)
    assert jax.tree.map(jnp.shape, Arrow.identity(plates)) == jax.tree.map(jnp.shape, arrow)


def test_too_many_crossed_effects_are_refused_and_many_take_time(monkeypatch):
    task = task_of(crossed)
    monkeypatch.setattr(frame_method, "OTHERS", GROUPS - 1)
    with pytest.raises(ModelError, match="crossed has 10 crossed effects, 5 of them beside those"):
        frame_method.FrameAlone().build(task, jr.key(0))
    monkeypatch.setattr(frame_method, "classes_of", lambda _: None)
    monkeypatch.setattr(frame_method, "CONNECTED", 2 * GROUPS - 1)
    with pytest.raises(ModelError, match="crossed has 10 effects in several plates"):
        frame_method.FrameAlone().build(task, jr.key(0))
    monkeypatch.setattr(frame_method, "LARGE", 2 * GROUPS - 1)
    monkeypatch.setattr(frame_method, "SECONDS", 1.0)
    with pytest.warns(UserWarning, match="10 effects .* and 128 rows take some 1280 CPU seconds"):
        frame_method.tell_time(task, Plates((0,) * 2 * GROUPS + (-1,)))


def test_by_part_and_back():
    """Of parts of unequal size too, whose blocks are identities beyond their latents."""
    plates = Plates((0, -1, 1, 0, 2, 2))
    d = jnp.arange(1.0, 6.0)
    np.testing.assert_array_equal(plates.by_part(d), [[1, 3], [2, 0], [4, 5]])
    np.testing.assert_array_equal(plates.flat(plates.by_part(d)), d)
    blocks = jnp.arange(12.0).reshape(3, 2, 2)
    dense = plates.dense(blocks)
    np.testing.assert_array_equal(dense[jnp.array([0, 2])][:, jnp.array([0, 2])], blocks[0])
    assert dense[1, 1] == 4 and dense[0, 1] == 0 and dense[3, 4] == 9


def test_joined_puts_each_where_it_was():
    plates = Plates((0, -1, 1, -1))
    at = jnp.arange(4.0)
    np.testing.assert_array_equal(plates.join(at[plates.outer], at[plates.inner]), at)
    for values, places in zip(plates.split(at[None]), (plates.outer, plates.inner), strict=True):
        np.testing.assert_array_equal(values, at[None, places])
