"""Sums by portions, and their derivatives, against those over all rows at once."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.row_chunks import MOST, ROWS, many, row_chunks, sum_chunks, thin
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale


def logit(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


@pytest.fixture(scope="module")
def task():
    return ap.Task(logit, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 400))


@pytest.fixture(scope="module")
def data(task):
    return task.simulate(jr.key(0), 400).data


@pytest.mark.parametrize(
    ("first", "last"), [(0, 400), (0, 63), (0, 65), (37, 259), (399, 400), (0, 0)]
)
def test_portions_hold_each_row_kept_once(first, last):
    """Wherever in the batch they lie: a mini-batch is masked out of a longer dataset. Each is
    spread over all.
    """
    rows = jnp.arange(400)
    cut = row_chunks((rows >= first) & (rows < last))
    count, kept = int(cut.count), last - first
    places = [np.asarray(p)[np.asarray(u)] for p, u in zip(cut.place, cut.used, strict=True)]
    assert sorted(np.concatenate(places)) == list(range(first, last))
    assert count == max(1, -(-kept // ROWS)) and all(len(p) == 0 for p in places[count:])
    for place in places[:count] if kept else []:
        assert place.min() < first + count and place.max() >= last - count
        assert abs(len(place) - kept / count) < 1


def test_there_are_few_portions_however_many_rows():
    assert row_chunks(jnp.ones(100_000, bool)).place.shape[0] == MOST


@pytest.mark.parametrize(("first", "last"), [(0, 400), (0, 64), (37, 300), (399, 400), (0, 0)])
def test_thinned_rows_are_spread_over_those_kept(first, last):
    """At most 64, each once, evenly; all of them where there are no more."""
    rows = jnp.arange(400)
    few = thin(Batch({"row": rows}, (rows >= first) & (rows < last)), 64)
    place, kept = np.asarray(few.data["row"])[np.asarray(few.mask)], last - first
    step = max(1, -(-kept // 64))
    assert len(few.mask) == 64
    np.testing.assert_array_equal(place, np.arange(first, last, step))


@pytest.mark.parametrize("kept", [pytest.param(400, marks=pytest.mark.slow), 150, 20])
def test_a_sum_and_its_derivatives_are_those_of_all_rows(task, data, kept):
    """In float32: sums in another order differ by a few roundings."""
    batch = Batch(data, jnp.arange(400) < kept)
    assert many(task, batch)
    log, at = (
        Densities(task, PriorScale(jnp.array([0.1, 0.2]), jnp.array([0.5, 2.0])), False),
        jnp.array([0.4, -1.0]),
    )
    whole = lambda at: task.log_joint(log.scale.restore(at), batch)  # noqa: E731
    for look in (lambda f: f(at), lambda f: jax.grad(f)(at), lambda f: jax.hessian(f)(at)):
        parts, once = (jax.jit(look, static_argnums=0)(f) for f in (log.joint(batch), whole))
        np.testing.assert_allclose(parts, once, rtol=2e-5, atol=2e-4)


def test_few_rows_are_the_first_portion_with_the_prior(task, data):
    batch, at = Batch(data, jnp.arange(400) < 390), jnp.array([0.4, -1.0])
    cut = row_chunks(batch.mask)
    first = Batch({n: v[cut.place[0]] for n, v in data.items()}, cut.used[0])
    joint = Densities(task, PriorScale(jnp.zeros(2), jnp.ones(2)), False).joint(batch)
    np.testing.assert_allclose(joint(at, True), task.log_joint(at, first), rtol=1e-5)
    np.testing.assert_allclose(
        jax.grad(joint)(at, True), jax.grad(task.log_joint)(at, first), rtol=1e-4, atol=1e-4
    )


def test_datasets_of_many_sizes_go_through_their_portions_together(task, data):
    """Mapped over masks: each dataset's sum ends with its own rows."""
    masks = jnp.arange(400) < jnp.array([4, 64, 65, 400])[:, None]
    ones = sum_chunks(
        lambda at, rows, first: at[0] * jnp.sum(jnp.where(rows.mask, 1.0, 0.0)) + first,
        Batch(data, masks[0]),
    )
    assert ones(jnp.ones(1)) == 5.0
    count = lambda m: sum_chunks(lambda at, rows, _: at[0] * jnp.sum(rows.mask), Batch(data, m))  # noqa: E731
    np.testing.assert_array_equal(
        jax.vmap(lambda m: count(m)(jnp.ones(1)))(masks), [4, 64, 65, 400]
    )
    slopes = jax.vmap(lambda m: jax.grad(count(m))(jnp.ones(1))[0])(masks)
    np.testing.assert_array_equal(slopes, [4, 64, 65, 400])


def test_rows_that_belong_together_are_not_cut(task, data):
    """A fixed number of rows may be built into the model."""
    fixed = ap.Task(logit, {"x": dist.Normal(0, 1).expand([2])}, rows=400)
    assert not many(fixed, Batch(data, jnp.ones(400, bool)))
