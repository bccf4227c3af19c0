"""Evidence in natural parameters, against Gaussian algebra in float64. Nothing here is random but
the fixtures.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from amortppl.gaussian.accumulator import EvidenceSum, seen_from
from amortppl.gaussian.filtering import Natural, apply_site, contraction, site_update
from amortppl.gaussian.frame import Frame
from amortppl.gaussian.union import union

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((400, 3)), jnp.float32)
Y = jnp.asarray(RNG.standard_normal(400), jnp.float32)
PRIOR = Natural(jnp.zeros(3), jnp.eye(3))


def gaussian_rows(at, rows=slice(None)):
    """Log likelihood of each row of a linear regression with unit noise."""
    return -0.5 * (Y[rows] - X[rows] @ at) ** 2


def logistic(at):
    return -jnp.sum(jnp.logaddexp(0.0, jnp.where(Y > 0, -1.0, 1.0) * (X @ at)))


def exact(rows):
    x, y = np.asarray(X[rows], np.float64), np.asarray(Y[rows], np.float64)
    precision = np.eye(3) + x.T @ x
    return np.linalg.solve(precision, x.T @ y), precision


def precision_of(frame):
    factor = np.asarray(frame.factor, np.float64)
    return factor @ factor.T


@pytest.fixture
def prior():
    return Frame(jnp.zeros(3), jnp.eye(3)), jnp.zeros(3)


def added(start, rows):
    frame, low = start
    site = site_update(lambda at: jnp.sum(gaussian_rows(at, rows)), frame)
    return apply_site(frame, low, site.shift, site.factor)


def test_gaussian_evidence_is_exact_in_any_parts(prior):
    state = prior
    for start in range(0, 400, 50):
        state = added(state, slice(start, start + 50))
    mean, precision = exact(slice(None))
    np.testing.assert_allclose(state[0].location, mean, atol=1e-4)
    np.testing.assert_allclose(precision_of(state[0]), precision, rtol=1e-3, atol=1e-2)


def test_no_rows_change_nothing(prior):
    site = site_update(lambda at: jnp.sum(0.0 * at), prior[0])
    frame, _ = apply_site(*prior, site.shift, site.factor)
    np.testing.assert_allclose(frame.location, 0.0, atol=1e-7)
    np.testing.assert_allclose(frame.factor, np.eye(3), atol=1e-6)
    assert float(site.share) == 0.0


def test_a_site_is_stationary_on_average(prior):
    """At the fixed point the gradient of prior and likelihood, averaged over the frame, is zero.

    The truth is the average over 200,000 draws: its error is below 0.01, tolerance five times that.
    """
    site = jax.jit(lambda frame: site_update(logistic, frame, most=30, tolerance=1e-6))(prior[0])
    frame, _ = apply_site(*prior, site.shift, site.factor)
    draws = frame.unwhiten(jax.random.normal(jax.random.key(0), (200_000, 3)))
    slopes = jax.jit(jax.vmap(jax.grad(lambda at: logistic(at) - 0.5 * at @ at)))(draws)
    whitened = np.linalg.solve(np.asarray(frame.factor), np.asarray(slopes).mean(0))
    np.testing.assert_allclose(whitened, 0.0, atol=0.05)


def test_by_scoring_a_site_ends_at_the_mode_however_far_it_is(prior):
    """Gradients and Fisher information alone, logistic: scipy's mode, and the Hessian there in
    closed form.
    """
    x, sign = np.asarray(X, np.float64), np.where(np.asarray(Y) > 0, 1.0, -1.0)
    joint = lambda at: np.logaddexp(0, -sign * (x @ at)).sum() + at @ at / 2 + 20 * at.sum()  # noqa: E731
    mode = minimize(joint, np.zeros(3), tol=1e-10).x
    chance = lambda at: jax.nn.sigmoid(X @ at)  # noqa: E731
    information = lambda at: (X.T * (chance(at) * (1 - chance(at)))) @ X  # noqa: E731
    tilted = lambda at: logistic(at) - 20.0 * jnp.sum(at)  # noqa: E731
    site = site_update(tilted, prior[0], information, most=30)
    frame, _ = apply_site(*prior, site.shift, site.factor)
    precision = np.asarray(information(jnp.asarray(mode, jnp.float32)), np.float64) + np.eye(3)
    np.testing.assert_allclose(frame.location, mode, atol=1e-3)
    np.testing.assert_allclose(precision_of(frame), precision, rtol=1e-2, atol=0.1)
    assert not np.any(site.left)


def test_a_location_keeps_what_rounding_loses():
    """A million steps of a hundredth of float32's resolution: lost without the part that is carried
    along.
    """
    frame, tiny = Frame(jnp.ones(1), jnp.eye(1)), jnp.full(1, 1e-9)

    def step(state, _):
        return apply_site(*state, tiny, jnp.eye(1)), None

    (frame, low), _ = jax.lax.scan(step, (frame, jnp.zeros(1)), length=1_000_000)
    assert float(frame.location[0]) - 1.0 + float(low[0]) == pytest.approx(1e-3, rel=0.01)


def test_a_union_is_exact_for_gaussian_evidence(prior):
    shards = [added(prior, slice(start, start + 100)) for start in range(0, 400, 100)]
    frame, low, kept = union(shards, [PRIOR] * 4)
    mean, precision = exact(slice(None))
    np.testing.assert_allclose(np.asarray(frame.location) + np.asarray(low), mean, atol=1e-5)
    np.testing.assert_allclose(precision_of(frame), precision, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(kept.precision, np.eye(3))


def test_rows_met_again_count_once(prior):
    """From a wrong frame, all rows met again give the right one; a share of them something
    between.
    """
    frame, low = Frame(jnp.full(3, 0.2), 15.0 * jnp.eye(3)), jnp.zeros(3)
    again = EvidenceSum.none(3)
    for start in range(0, 400, 100):
        rows = slice(start, start + 100)
        again = again.add(
            lambda at, rows=rows: jnp.sum(gaussian_rows(at, rows)), frame, jnp.asarray(100.0)
        )
    kept = seen_from(frame, prior[0])
    after, _ = apply_site(frame, low, *again.blend(kept, jnp.asarray(1.0)))
    mean, precision = exact(slice(None))
    np.testing.assert_allclose(after.location, mean, atol=1e-4)
    np.testing.assert_allclose(precision_of(after), precision, rtol=1e-3, atol=1e-2)
    still, _ = apply_site(frame, low, *EvidenceSum.none(3).blend(kept, jnp.asarray(0.0)))
    np.testing.assert_allclose(still.location, frame.location, atol=1e-6)


def test_contraction_is_the_ratio_of_sds():
    frames = [Frame(jnp.zeros(3), s * jnp.eye(3)) for s in (2.0, 4.0)]
    assert float(contraction(*frames)) == pytest.approx(0.5)
