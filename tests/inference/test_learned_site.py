"""Sites that are no answer: several modes, tasks that are not finite, training that gains nothing."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.gaussian.belief import NARROWEST, WIDEST, within_bounds
from amortppl.gaussian.learned_update import TRUST
from amortppl.task.batch import Batch
from amortppl.training.greedy import GreedyTrainer
from amortppl.training.schedule import Schedule
from conjugate import line_model

SMALL = {"width": 8, "layers": 1, "heads": 1, "most": 4}


def trainer(model, inputs=None, rows=(4, 16), **options):
    task = ap.Task(model, inputs or {}, rows=rows)
    spec = ap.method("iterative_parametric", **{**SMALL, **options})
    return GreedyTrainer(task, spec, Schedule(steps=1, batch=8, mini_batch=4), 0)


LINE = {"x": dist.Normal(0, 1).expand([2])}


def squared(rows, y=None):
    u = numpyro.sample("u", dist.Normal(0, 1))
    with numpyro.plate("row", rows):
        numpyro.sample("y", dist.Normal(u**2, 0.5), obs=y)


def best_gaussian(u, y):
    """-log N(u; mean, sd) in nats with the exact posterior's moments, by quadrature."""
    grid = np.linspace(-5, 5, 5001)
    log = -(grid**2) / 2 - 2 * ((y[:, None] - grid**2) ** 2).sum(0)
    weight = np.exp(log - log.max())
    mean = weight @ grid / weight.sum()
    variance = weight @ (grid - mean) ** 2 / weight.sum()
    return 0.5 * (np.log(2 * np.pi * variance) + (u - mean) ** 2 / variance)


def test_a_full_spread_is_bounded_as_independent_sds_are():
    """Sds outside of the bounds are at them, and correlations are as they were."""
    rng = np.random.default_rng(0)
    scale = np.exp([5.0, 0.0, -16.0])
    mixed = np.eye(3) + 0.3 * rng.standard_normal((3, 3))
    covariance = scale[:, None] * (mixed @ mixed.T) * scale
    factor = np.linalg.cholesky(np.linalg.inv(covariance))
    bounded = np.asarray(within_bounds(jnp.asarray(factor, jnp.float32)), np.float64)
    after = np.linalg.inv(bounded @ bounded.T)
    sd, before = np.sqrt(np.diag(after)), np.sqrt(np.diag(covariance))
    wanted = np.clip(before, np.exp(NARROWEST), np.exp(WIDEST))
    np.testing.assert_allclose(sd, wanted, rtol=1e-3)
    correlation = covariance / np.outer(before, before)
    np.testing.assert_allclose(after / np.outer(sd, sd), correlation, atol=1e-3)


@pytest.mark.slow
def test_a_task_that_is_not_finite_costs_its_own_part_of_an_update_alone():
    """The gradient is the mean over the others, which linearity gives from two healthy pools."""
    run = trainer(line_model, LINE)
    weights = jnp.asarray(run.weights) + 0.05 * jr.normal(jr.key(3), run.weights.shape)
    pool = jax.tree.map(lambda a: a[0], run.start().carried)
    step = jax.jit(lambda pool: run._kept(weights, pool, jr.key(1)))
    first = jnp.arange(8) == 0
    location = jnp.where(first[:, None], jnp.nan, pool.states.location)
    seen = pool._replace(used=jnp.full_like(pool.used, 2))  # states that are data
    broken = seen._replace(states=seen.states._replace(location=location))
    loss, usable, gradient, after = step(broken)
    assert jnp.isfinite(loss) and float(usable) == 7 / 8
    assert (after.usable == ~first).all()
    healthy, alone = step(seen), step(seen._replace(usable=first))
    wanted = (8 * healthy[2] - alone[2]) / 7
    np.testing.assert_allclose(gradient, wanted, atol=1e-4 * float(jnp.abs(wanted).max()))
    np.testing.assert_allclose(loss, (8 * healthy[0] - alone[0]) / 7, rtol=1e-5)
    again = step(broken._replace(usable=~first))  # a task that is known to be of no use
    np.testing.assert_allclose(again[2], gradient, atol=1e-6)


@pytest.mark.slow
def test_training_that_is_worse_than_its_start_is_not_kept():
    run = trainer(line_model, LINE, closed_form=True)
    assert run.method(run.weights).update.net.bias[TRUST] == 0  # sites are exact
    learner = run.start()
    noise = learner._replace(average=learner.average + jr.normal(jr.key(1), run.weights.shape))
    with pytest.warns(UserWarning, match="closed form alone.*is kept"):
        np.testing.assert_array_equal(run.chosen(noise), run.weights)


@pytest.mark.slow
@pytest.mark.filterwarnings("error:train")
def test_sites_of_a_posterior_with_two_modes_are_not_trusted():
    """y ~ N(u^2, 0.5): a site finds one of the modes, 100 nats off in half of all tasks.

    Within 0.5 nats of the best Gaussian on 256 tasks after 200 updates (measured: 0.21), where
    sites alone are off by more than 1,000. Seeds are fixed.
    """
    task = ap.Task(squared, rows=(4, 40))
    spec = ap.method("iterative_parametric", closed_form=True, **{**SMALL, "width": 16, "heads": 2})
    guide = ap.train(task, spec, steps=200, batch=32, rate=5e-3, progress=False)
    method = guide.method
    assert method.update.net.bias[TRUST] > 5  # a power below 0.6

    def one(key):
        drawn = task.simulate(key, 40)
        step = lambda s, y: (method.step(s, Batch({"y": y}, jnp.ones(4, bool))), None)  # noqa: E731
        state = jax.lax.scan(step, method.init(), drawn.data["y"].reshape(10, 4))[0]
        at = method.scale.standardize(drawn.latents)
        short = jnp.log(method.scale.scale[0]) - state.log_prob(at)
        return drawn.latents[0], drawn.data["y"], short

    u, y, short = (np.asarray(a, float) for a in jax.jit(jax.vmap(one))(jr.split(jr.key(9), 256)))
    best = np.mean([best_gaussian(*each) for each in zip(u, y, strict=True)])
    assert best - 0.1 < short.mean() < best + 0.5
