"""Variational inference, nothing learned: against exact posteriors."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from amortppl.models.known_noise_regression import NOISE
from amortppl.models.known_noise_regression import exact_posterior as exact_weights
from amortppl.models.linear_regression import exact_posterior

import amortppl as ap
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.batch import Batch


def test_a_further_pass_ends_at_the_exact_posterior():
    """200 Adam steps a mini-batch leave the mean 0.02 sd off and the precision 5%; a pass expands
    all rows in one Gaussian, which of a Gaussian posterior is exact.
    """
    task = ap.model("known_noise_regression", inputs={"x": dist.Normal(0, 1).expand([2])})
    method = construct(ap.method("svi", iterations=200).build, task, jr.key(0))
    x = np.random.default_rng(1).normal(size=(3, 16, 2)).astype(np.float32)
    y = x.sum(-1) + np.float32(NOISE) * np.random.default_rng(2).normal(size=(3, 16))
    y = y.astype(np.float32)
    batches = [Batch({"x": a, "y": b}, np.ones(16, bool)) for a, b in zip(x, y, strict=True)]
    step, state = jax.jit(lambda s, b: method.step(s, b)), method.init()
    ends = []
    for number in range(2):
        for batch in batches:
            state = step(state, batch)
        ends.append(method.finalize(state).frame)
        state = method.start_pass(state, method.init()) if number == 0 else state
    rows, precision = x.reshape(48, 2), np.eye(2) + np.einsum("nki,nkj->ij", x, x) / NOISE**2
    mean = np.linalg.solve(precision, rows.T @ y.ravel()) / NOISE**2
    once, twice = (method.scale.restore(jnp.asarray(f.location)) - mean for f in ends)
    sds = np.linalg.cholesky(precision).T
    assert np.linalg.norm(sds @ once) > 5e-3 and np.linalg.norm(sds @ twice) < 1e-3
    units, factor = np.outer(method.scale.scale, method.scale.scale), ends[1].factor
    np.testing.assert_allclose(factor @ factor.T, units * precision, rtol=1e-3)


@pytest.mark.slow
def test_a_posterior_far_narrower_than_the_prior():
    """Noise of sd 0.1 under a prior of scale 1, with five weights: log sigma has sd 0.09.

    Mean within 0.3 sd of that of exact draws and sd within 20%. The Gaussian and Adam's own noise
    leave 0.16 sd and
    6.5%, seeds are fixed: a false alarm takes another version of what computes it. From the prior's
        own width
    sigma came out as 1.3.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 5)).astype(np.float32)
    y = (x @ rng.standard_normal(5) + 0.1 * rng.standard_normal(64)).astype(np.float32)
    task = ap.model("linear_regression")
    method = construct(ap.method("svi").build, task, jr.key(0))
    state = method.step(
        method.init(), Batch({"x": jnp.asarray(x), "y": jnp.asarray(y)}, jnp.ones(64, bool))
    )
    drawn = np.asarray(method.readout(state).sample(jr.key(1), 4000)[0])
    exact = exact_posterior({"x": x, "y": y}, jr.key(0), 4000)
    truth = np.concatenate([np.log(exact["sigma"])[:, None], exact["weights"]], 1)
    assert task.latents.names == ["sigma", "weights"]
    assert np.all(np.abs(drawn.mean(0) - truth.mean(0)) < 0.3 * truth.std(0))
    assert np.all(np.abs(drawn.std(0) / truth.std(0) - 1) < 0.2)


@pytest.mark.slow
def test_twenty_mini_batches_of_few_rows():
    """24 weights, 16 rows at a time: means within 0.2 exact sds, sds within 10%.

    They leave 0.052 sd at most and 4%, seeds are fixed. With steps in units of the prior the sds
    shrank to a thousandth, and the posterior was not finite.
    """
    task = ap.model("known_noise_regression", inputs={"x": dist.Normal(0, 1).expand([24])})
    method = construct(ap.method("svi").build, task, jr.key(0))
    x = jr.normal(jr.key(1), (20, 16, 24))
    data = {"x": x, "y": x.sum(-1) + NOISE * jr.normal(jr.key(2), (20, 16))}
    step, state = jax.jit(lambda s, b: method.step(s, b)), method.init()
    for number in range(20):
        rows = {n: v[number] for n, v in data.items()}
        state = step(state, Batch(rows, jnp.ones(16, bool)))
    drawn = np.asarray(method.readout(state).sample(jr.key(3), 4000)[0])
    whole = {n: np.asarray(v).reshape(320, *v.shape[2:]) for n, v in data.items()}
    truth = exact_weights(whole, jr.key(4), 4000)["weights"]
    assert np.all(np.abs(drawn.mean(0) - truth.mean(0)) < 0.2 * truth.std(0))
    assert np.all(np.abs(drawn.std(0) / truth.std(0) - 1) < 0.1)
