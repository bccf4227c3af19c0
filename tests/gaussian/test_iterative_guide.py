"""Beliefs of disjoint rows combine, and rows that come again count once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import GuideError
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch
from conjugate import line_model, line_posterior

TINY = {"width": 16, "layers": 2, "heads": 2, "most": 8}


def built(**options):
    """Not trained, in the prior's own units, so that nothing is estimated."""
    task = ap.Task(line_model, {"x": dist.Normal(0, 1).expand([2])}, rows=(4, 64))
    spec = ap.method("iterative_parametric", **TINY, **options)
    method = construct(spec.build, task, jr.key(0))
    ones = eqx.tree_at(lambda s: (s.scale, s.centre), method.scale, (jnp.ones(2), jnp.zeros(2)))
    return eqx.tree_at(lambda m: m.scale, method, ones)


def stepped_from(method, state, x, y):
    """The state after all mini-batches of 8 rows."""
    minis = Batch(
        {"x": x.reshape(-1, 8, 2).astype(jnp.float32), "y": y.reshape(-1, 8).astype(jnp.float32)},
        jnp.ones((len(y) // 8, 8), bool),
    )
    return jax.lax.scan(lambda s, b: (method.step(s, b), None), state, minis)[0]


def exactly(belief, x, y):
    """How far a belief is from the exact posterior: means in exact sds, and log ratios of sds."""
    q = belief.frame()
    mean, covariance = line_posterior(x, y)
    sd = np.sqrt(np.diag(covariance))
    own = np.sqrt(np.sum(np.asarray(q.inverse(), np.float64) ** 2, 0))
    return np.concatenate([(np.asarray(q.location) - mean) / sd, np.log(own / sd)])


@pytest.mark.slow
def test_states_of_disjoint_rows_combine_and_passes_count_once():
    """Exact sites: two shards together, and rows that come again, are the exact posterior."""
    method, rng = built(closed_form=True), np.random.default_rng(1)
    x = rng.standard_normal((48, 2))
    y = x @ rng.standard_normal(2) + rng.standard_normal(48)
    step = eqx.filter_jit(lambda s, a, b: stepped_from(method, s, a, b))
    halves = [step(method.init(), x[p], y[p]) for p in (slice(0, 24), slice(24, 48))]
    both = method.combine(halves)
    assert both.rows == 48
    np.testing.assert_allclose(exactly(both, x, y), 0, atol=5e-3)
    once = step(method.init(), x, y)
    twice = method.finalize(step(method.start_pass(once, method.init()), x, y))
    assert twice.rows == 48
    np.testing.assert_allclose(exactly(twice, x, y), 0, atol=5e-3)
    shard = step(halves[0], x[24:], y[24:])  # a further pass over the later rows alone
    again = method.finalize(step(method.start_pass(shard, halves[0]), x[24:], y[24:]))
    np.testing.assert_allclose(exactly(again, x, y), 0, atol=5e-3)


@pytest.mark.parametrize("posterior", ["diagonal", "point"])
def test_beliefs_without_correlations_combine(posterior):
    """Precisions add, theta_0's counted once; points average by rows."""
    method = built(posterior=posterior)
    first = method.init()
    place = lambda at, log_sd, n: first._replace(  # noqa: E731
        location=jnp.full(2, at), rows=jnp.asarray(n),
        spread=first.spread if posterior == "point" else jnp.full(2, log_sd),
    )  # fmt: skip
    both = method.combine([place(1.0, np.log(0.5), 10.0), place(-2.0, np.log(0.25), 30.0)])
    if posterior == "point":
        np.testing.assert_allclose(both.location, (10 * 1.0 - 30 * 2.0) / 40, rtol=1e-5)
        return
    np.testing.assert_allclose(np.exp(-2 * both.spread), 4 + 16 - 1, rtol=1e-5)
    np.testing.assert_allclose(both.location, (4 * 1.0 - 16 * 2.0) / 19, rtol=1e-5)
    with pytest.raises(GuideError, match="does not add up to a Gaussian"):
        method.combine([place(0.0, 1.0, 8.0)] * 3)
