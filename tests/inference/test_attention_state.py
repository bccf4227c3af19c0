"""A state read by attention is the softmax over all rows, whatever the mini-batches."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import GuideError
from amortppl.method import begin
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from conjugate import line_model, shaken


def test_mini_batches_and_unions_are_the_softmax_over_all_rows():
    """By numpy, in float64, from the same queries, keys and values; a learned mean has a weight."""
    task = ap.Task(line_model, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 32))
    spec = ap.method("iterative_implicit", state="attention", hidden=8, heads=2)
    method, draw = shaken(construct(spec.build, task, jr.key(0)), 0.1), task.simulate(jr.key(1), 24)
    query = {n: v[20:] for n, v in draw.data.items()}
    step = eqx.filter_jit(method.step)
    first, order = begin(method, query), np.random.default_rng(0).permutation(20)
    apart = []
    for half in (order[:9], order[9:]):
        state = first
        for start in range(0, len(half), 4):
            place = half[start : start + 4]
            kept = jnp.arange(4) < len(place)
            rows = {n: v[np.resize(place, 4)] for n, v in draw.data.items()}
            state = step(state, Batch(rows, kept))
        apart.append(state)
    both, attention = method.combine(apart), method.attention
    same = {n: v[:20] for n, v in draw.data.items()}
    at, rows = method.reader.crossed(query), method.reader.rows(same)
    q, k, v = (
        np.asarray(jax.vmap(f)(a), float).reshape(len(a), 2, -1)
        for f, a in ((attention.query, at), (attention.key, rows), (attention.value, rows))
    )
    weight = np.exp(np.einsum("qhk,bhk->qhb", q, k) / 8**0.5)
    before = np.asarray(first.value, float)
    mean, mass = before[:, :-2].reshape(4, 2, 8), np.exp(before[:, -2:])
    total = mass + weight.sum(-1)
    wanted = (mass[..., None] * mean + np.einsum("qhb,bhv->qhv", weight, v)) / total[..., None]
    np.testing.assert_allclose(both.value[:, :-2].reshape(4, 2, 8), wanted, atol=2e-4)
    np.testing.assert_allclose(both.value[:, -2:], np.log(total), atol=2e-4)
    assert both.rows == 20
    empty = step(both, Batch({n: v[:4] for n, v in draw.data.items()}, jnp.zeros(4, bool)))
    np.testing.assert_array_equal(empty.value, both.value)
    assert np.isfinite(method.predictive(both, query).log_prob(query)).all()
    other = begin(method, {n: v + 1 for n, v in query.items()})
    with pytest.raises(GuideError, match="belong to other queries"):
        method.combine([apart[0], other])
    with pytest.raises(GuideError, match="belongs to 4 queries and is asked at 2"):
        method.predictive(both, {n: v[:2] for n, v in query.items()})
