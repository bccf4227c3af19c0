"""What evidence misses that was expanded elsewhere, against a cubic log density, for which it is
exact. Not random.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amortppl.gaussian.frame import Frame
from amortppl.gaussian.third_order import ALIKE, GROWTH, Displaced

COUNT = 1_000_000
"""Rows of a mini-batch, so many that the mean of their third derivatives is taken as it is."""

RNG = np.random.default_rng(0)
TILT, BEND = RNG.standard_normal((4, 3)), 0.05 * RNG.standard_normal(4)


def row(at):
    """A row's log density: its Hessian is -I at 0, its third derivative a constant."""
    return -0.5 * jnp.sum(at**2) + jnp.sum(BEND * (TILT @ at) ** 3) / 6


def third(one):
    """T[one, ., .]."""
    return np.einsum("k,k,ki,kj->ij", BEND, TILT @ one, TILT, TILT)


def average_gradient(mean, covariance):
    """E grad of a row's log density, and its mean Hessian, over a Gaussian: exact for a cubic."""
    gradient = -mean + 0.5 * np.einsum("k,k,ki->i", BEND, (TILT @ mean) ** 2, TILT)
    spread = 0.5 * np.einsum("k,ki,kj,kl,ij->l", BEND, TILT, TILT, TILT, covariance)
    return gradient + spread, -np.eye(3) + third(mean)


def frames():
    """Where the frame stood when each of four mini-batches came, and where it stands after the
    last.
    """
    rng = np.random.default_rng(1)
    for number in range(1, 6):
        factor = np.tril(0.3 * rng.standard_normal((3, 3)), -1) + np.diag(rng.uniform(0.8, 1.2, 3))
        yield 0.3 * rng.standard_normal(3) / number, number**0.5 * 150 * factor


def gains(rows, count):
    """Eigenvalues of a mini-batch's curvature whose rows hold as much evidence each as the others
    do.
    """
    return count / (rows - count) * jnp.ones(3)


def covariance(factor):
    return np.linalg.inv(factor @ factor.T)


def carried(at, rows):
    """`Displaced` carried along a path of frames: each mini-batch comes where the frame stands."""
    path = [Frame(jnp.asarray(m, jnp.float32), jnp.asarray(c, jnp.float32)) for m, c in at]
    displaced = Displaced.at(path[0], jnp.asarray(rows[0]))
    for i, (old, new) in enumerate(pairwise(path)):
        displaced = displaced.after(new.location - old.location, jnp.asarray(sum(rows[: i + 1])))
        if i + 1 < len(rows):
            there = Displaced.at(new, jnp.asarray(rows[i + 1]))
            displaced = displaced._replace(squares=displaced.squares + there.squares)
    return displaced, path[-1]


def test_a_correction_is_exact_for_a_cubic():
    at, rows = list(frames()), [10_000.0, 20_000.0, 5000.0, 15_000.0]
    displaced, frame = carried(at, rows)
    mean, factor = at[-1]
    slope, bend = np.zeros(3), np.zeros((3, 3))
    for count, (m, c) in zip(rows, at[:-1], strict=True):
        gradient, hessian = average_gradient(m, covariance(c))
        there, curved = average_gradient(mean, covariance(factor))
        slope += count * (there - gradient - hessian @ (mean - m))
        bend -= count * (curved - hessian)
    rows = jnp.asarray(sum(rows) + COUNT)
    there = rows, jnp.asarray(COUNT), gains(rows, COUNT)
    corrected, low, _ = displaced.correct(lambda u: COUNT * row(u), frame, jnp.zeros(3), *there)
    precision = factor @ factor.T + bend
    shift = np.linalg.solve(precision, slope)
    assert np.linalg.norm(factor.T @ shift) > 0.01  # there was something to correct
    np.testing.assert_allclose(
        corrected.location + low - frame.location, shift, rtol=0.02, atol=1e-7
    )
    np.testing.assert_allclose(
        corrected.factor @ corrected.factor.T, precision, rtol=1e-3, atol=1e-2
    )


def test_nothing_is_missed_where_nothing_moved():
    frame = Frame(jnp.ones(3), 50 * jnp.eye(3))
    displaced = Displaced.at(frame, jnp.asarray(100.0))
    corrected, low, after = displaced.correct(
        row, frame, jnp.zeros(3), jnp.asarray(200.0), jnp.asarray(100.0), gains(200, 100)
    )
    np.testing.assert_allclose(corrected.location + low, frame.location, atol=1e-6)
    np.testing.assert_allclose(corrected.factor, frame.factor, rtol=1e-5, atol=1e-4)
    assert float(after.rows) == 200.0


def test_it_waits_until_the_rows_have_grown():
    frame = Frame(jnp.ones(3), 50 * jnp.eye(3))
    displaced = Displaced(jnp.ones(3), jnp.eye(3), jnp.asarray(100.0))
    for rows, due in ((100 * GROWTH - 1, False), (100 * GROWTH, True)):
        corrected, _, after = displaced.correct(
            row, frame, jnp.zeros(3), jnp.asarray(rows), jnp.asarray(10.0), gains(rows, 10)
        )
        assert (float(after.rows) == rows) == due == bool(np.any(corrected.factor != frame.factor))


@pytest.mark.parametrize("one", [ALIKE * 1.1, 1 / ALIKE / 1.1])
def test_a_mini_batch_unlike_the_others_says_nothing_of_them(one):
    """A few rows far out may hold most of the evidence in a direction, and of the third derivatives
    far more.
    """
    frame = Frame(jnp.ones(3), 50 * jnp.eye(3))
    displaced = Displaced(jnp.ones(3), jnp.eye(3), jnp.asarray(100.0))
    held = jnp.array([1.0, 1.0, one]) * 10 / 190
    for unlike in (False, True):
        corrected, _, after = displaced.correct(
            row,
            frame,
            jnp.zeros(3),
            jnp.asarray(200.0),
            jnp.asarray(10.0),
            held if unlike else gains(200, 10),
        )
        assert (
            (float(after.rows) == 100.0) == unlike != bool(np.any(corrected.factor != frame.factor))
        )


@pytest.mark.parametrize("spoiled", [jnp.nan, jnp.inf, 1e30])
def test_whatever_a_mini_batch_holds_the_frame_stays_sound(spoiled):
    """A log density that overflows, or a third derivative beyond measure: at most a posterior sd,
    never NaN.
    """
    frame = Frame(jnp.ones(3), 50 * jnp.eye(3))
    displaced = Displaced(jnp.ones(3), jnp.eye(3), jnp.asarray(10.0))
    corrected, _, _ = jax.jit(
        lambda s: displaced.correct(
            lambda u: s * jnp.sum(u**3),
            frame,
            jnp.zeros(3),
            jnp.asarray(200.0),
            jnp.asarray(10.0),
            gains(200, 10),
        )
    )(spoiled)
    moved = np.asarray(frame.factor).T @ (
        np.asarray(corrected.location) - np.asarray(frame.location)
    )
    assert np.isfinite(corrected.factor).all() and np.linalg.norm(moved) <= 1.001
    assert np.all(np.diag(corrected.factor) > 0)
