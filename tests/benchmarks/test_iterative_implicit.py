"""The iterated implicit update: how much of what the exact posterior gains from more mini-batches
it gains, far beyond
the number trained on, and which kind of state does best."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.predictive.query_state import SPACES
from amortppl.task.batch import Batch
from benchmarks.budget import trained

COVARIATES, ROWS, NOISE, TASKS, QUERIES, DRAWS = 8, 16, 0.7, 256, 16, 8
"""Rows of a mini-batch; tasks, queries of each, and draws of y at each that a mean is taken
over.
"""

STEPS = (1, 2, 5, 10, 20, 200)
"""Trained on at most 30 mini-batches."""


def line(x, y=None):
    """Weights of unit variance, known noise: the exact predictive is a Gaussian in closed form."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([COVARIATES]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, NOISE), obs=y)


def two_classes(x, y=None):
    """Logistic regression."""
    w = numpyro.sample("w", dist.Normal(0, 1).expand([COVARIATES]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def task_of(model):
    return ap.Task(model, {"x": dist.Normal(0, 1).expand([COVARIATES])}, rows=(1, 30 * ROWS))


@pytest.mark.parametrize("seconds", [60, 180])
def test_share_of_the_exact_gain(seconds, cost, say):
    """Of what the exact posterior gains from 16 to 320 rows; nats a query below the exact
    predictive at each K.
    """
    with cost() as training:
        guide = trained(task_of(line), "iterative_implicit", seconds)
    ours, exact = (np.asarray(a) for a in _along(guide.method, line))
    share = (ours[19] - exact[0]) / (exact[19] - exact[0])
    gaps = {k: exact[k - 1] - ours[k - 1] for k in STEPS}
    row = ", ".join(f"K = {k}: {gap:.4f}" for k, gap in gaps.items())
    say(
        f"{training.cpu:.0f} CPU s, {guide.record.steps} updates: {share:.3f} of the gain; gaps "
        f"{row}"
    )
    assert share >= 0.92 and gaps[1] <= 0.1 and gaps[200] <= gaps[20]


def test_the_closed_form_alone(say):
    """With the true prior and noise and no network: the most that a state without memory can be
    expected to gain.
    """
    rng = np.random.default_rng(0)
    w, at = (
        rng.standard_normal((TASKS * 8, COVARIATES)),
        rng.standard_normal((TASKS * 8, QUERIES, COVARIATES)),
    )
    centre, length = np.einsum("tqd,td->tq", at, w), np.sum(at**2, -1)
    place, weight = np.zeros_like(centre), 1 / length
    precision, moment = (
        np.broadcast_to(np.eye(COVARIATES), (len(w), COVARIATES, COVARIATES)),
        np.zeros_like(w),
    )
    ours, exact = [], []
    for _ in range(20):
        x = rng.standard_normal((len(w), ROWS, COVARIATES))
        y = np.einsum("tbd,td->tb", x, w) + NOISE * rng.standard_normal(x.shape[:2])
        seen, pull = (
            np.einsum("tbd,tbe->tde", x, x) / NOISE**2,
            np.einsum("tbd,tb->td", x, y) / NOISE**2,
        )
        mean, variance = _at(at, seen + np.eye(COVARIATES), pull)
        gain = 1 / variance - 1 / length
        place = place + gain / (weight + gain) * (mean / variance / gain - place)
        weight = weight + gain
        precision, moment = precision + seen, moment + pull
        ours.append(_expected(centre, place, 1 / weight))
        exact.append(_expected(centre, *_at(at, precision, moment)))
    share = (ours[19] - exact[0]) / (exact[19] - exact[0])
    gaps = ", ".join(f"K = {k}: {exact[k - 1] - ours[k - 1]:.4f}" for k in STEPS[:-1])
    say(f"closed form alone: {share:.3f} of the gain; gaps {gaps}")
    assert 0.96 <= share <= 0.98


def _at(at, precision, moment):
    """Mean and variance of the queries' centres under a Gaussian over the weights."""
    covariance = np.linalg.inv(precision)
    return np.einsum("tqd,tde,te->tq", at, covariance, moment), np.einsum(
        "tqd,tde,tqe->tq", at, covariance, at
    )


def _expected(centre, mean, variance):
    """Log density of y* under N(mean, variance + noise^2), its mean over y*."""
    whole = variance + NOISE**2
    return np.mean(
        -0.5 * np.log(2 * np.pi * whole) - 0.5 * (NOISE**2 + (centre - mean) ** 2) / whole
    )


@pytest.mark.parametrize("model", [line, two_classes])
def test_logits_against_other_states(model, say):
    """Log predictive density of a query at each K, each kind of state trained alike."""
    gaps_of = {}
    for state in SPACES:
        guide = trained(task_of(model), ap.method("iterative_implicit", state=state), 60)
        gaps_of[state] = np.asarray(_along(guide.method, model)[0])
        row = ", ".join(f"K = {k}: {gaps_of[state][k - 1]:.4f}" for k in STEPS)
        say(f"{model.__name__}, {state}, {guide.record.steps} updates: {row}")
    assert all(gaps_of["logits"][19] >= other[19] - 0.005 for other in gaps_of.values())


@eqx.filter_jit
def _along(method, model):
    """Log density of y* a query after each of 200 mini-batches, ours and the exact one's (of the
    line).
    """
    keys = jr.split(jr.key(12345), 4)
    w, at = (
        jr.normal(keys[0], (TASKS, COVARIATES)),
        jr.normal(keys[1], (TASKS, QUERIES, COVARIATES)),
    )
    centre = jnp.einsum("tqd,td->tq", at, w)
    gaussian = model is line
    noise = (
        jr.normal(keys[2], (DRAWS, TASKS, QUERIES))
        if gaussian
        else jr.logistic(keys[2], (DRAWS, TASKS, QUERIES))
    )
    seen = lambda f, e: f + NOISE * e if gaussian else (f + e > 0).astype(int)  # noqa: E731
    new = seen(centre, noise)

    def score(state):
        density = lambda s, x, y: method.predictive(s, {"x": x, "y": y}).log_prob({"x": x, "y": y})  # noqa: E731
        return jnp.mean(jax.vmap(lambda y: jax.vmap(density)(state, at, y))(new))

    def advance(carried, key):
        state, precision, moment = carried
        draw, error = jr.split(key)
        x = jr.normal(draw, (TASKS, ROWS, COVARIATES))
        make = jr.normal if gaussian else jr.logistic
        y = seen(jnp.einsum("tbd,td->tb", x, w), make(error, x.shape[:2]))
        step = lambda s, x, y: method.step(s, Batch({"x": x, "y": y}, jnp.ones(ROWS, bool)))  # noqa: E731
        state = jax.vmap(step)(state, x, y)
        precision = precision + jnp.einsum("tbd,tbe->tde", x, x) / NOISE**2
        moment = moment + jnp.einsum("tbd,tb->td", x, y) / NOISE**2
        covariance = jnp.linalg.inv(precision)
        mean = jnp.einsum("tqd,tde,te->tq", at, covariance, moment)
        variance = NOISE**2 + jnp.einsum("tqd,tde,tqe->tq", at, covariance, at)
        exact = jnp.mean(-0.5 * jnp.log(2 * jnp.pi * variance) - 0.5 * (new - mean) ** 2 / variance)
        return (state, precision, moment), (score(state), exact)

    begun = jax.vmap(lambda x: method.init({"x": x}))(at)
    carried = (
        begun,
        jnp.broadcast_to(jnp.eye(COVARIATES), (TASKS, COVARIATES, COVARIATES)),
        jnp.zeros_like(w),
    )
    return jax.lax.scan(advance, carried, jr.split(keys[3], max(STEPS)))[1]
