"""Evidence of mini-batches, added up in natural parameters that are never formed.

A frame N(m, (C C')^-1) holds prior and evidence so far. A mini-batch adds a Gaussian site whose
gradient g and curvature W, in the frame's whitened coordinates, are averages over the posterior
that it leads to, located at z (a fixed point, found by sweeps):

    z = g(z, W),    C <- C chol(I + W),    m <- m + C'^-1 z

so that float32 serves at any number of rows: the factor is multiplied, never the precision added,
and what the location loses by rounding is carried along. Opper and Winther 1998, "A Bayesian
approach to on-line learning" (assumed-density filtering); Opper and Archambeau 2009, "The
variational Gaussian approximation revisited" (the averages).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import REACH, averages, whitened_gradients
from amortppl.gaussian.frame import Frame, LogDensity, Precision, cholesky_of, clip_norm

MOST, TOLERANCE = 8, 0.005
"""Sweeps per mini-batch: the first few need several, late ones, whose share is small, need one."""


class Natural(NamedTuple):
    """A Gaussian factor's natural parameters: linear term h and precision B, exp(h'u - u'Bu/2)."""

    linear: Float[Array, " P"]
    precision: Float[Array, "P P"]


class SiteUpdate(NamedTuple):
    """What a mini-batch did to a frame, in the whitened coordinates before it.

    Attributes:
        shift: z, the new location.
        factor: chol(I + W), lower.
        gains: eigenvalues w of W.
        surprise: g'(W + W^2)^-1 g / P at the old location, where W^2 allows for the old frame's
            width: about 1 when the rows are as the frame expects them.
        left: the gradients' remainder at the cubature points, what of the site is not Gaussian.
    """

    shift: Float[Array, " P"]
    factor: Float[Array, "P P"]
    gains: Float[Array, " P"]
    surprise: Float[Array, ""]
    left: Float[Array, " R"]

    @property
    def share(self) -> Float[Array, ""]:
        """Mean of w / (1 + w): how much of the evidence is new."""
        grown = jnp.maximum(self.gains, 0.0)
        return jnp.mean(grown / (1.0 + grown))


def site_update(
    f: LogDensity,
    frame: Frame,
    information: Precision | None = None,
    most: int = MOST,
    tolerance: float = TOLERANCE,
) -> SiteUpdate:
    """The site of a mini-batch's log likelihood f, averaged over the posterior it leads to.

    A sweep averages gradient and curvature over the current guess by cubature, then solves for the
    next guess. It stops when the shift times the batch's curvature, which is about what another
    sweep would change, is below `tolerance` posterior sds, or after `most` sweeps.

    Args:
        f: log likelihood of the mini-batch.
        frame: prior and evidence so far.
        information: curvature at a point that takes the place of averages: a sweep then sees the
            gradient and this at the guess alone (Fisher scoring), and nothing of the remainder.
        most, tolerance: when to stop.
    """
    size = frame.location.shape[0]

    def sweep(state: tuple) -> tuple:
        shift, factor, _, first, count, _ = state
        guess = Frame(frame.unwhiten(shift), frame.factor @ factor)
        slope, bend, left = _look(f, guess, information)
        g, w = factor @ slope, factor @ bend @ factor.T
        values, vectors = jnp.linalg.eigh((w + w.T) / 2)
        values = jnp.maximum(values, -0.5)
        step = clip_norm(vectors @ ((vectors.T @ (g - shift)) / (1.0 + values)), 2.0)
        spread = jnp.maximum(values, 1e-6)
        surprise = jnp.mean((vectors.T @ g) ** 2 / (spread * (1.0 + spread)))
        first = jnp.where(count == 0, surprise, first)
        change = jnp.linalg.norm(step) * jnp.max(jnp.abs(values))
        return (
            shift + step,
            cholesky_of(1.0 + values, vectors),
            (values, left),
            first,
            count + 1,
            change,
        )

    def unsettled(state: tuple) -> Array:
        return (state[4] < most) & (state[5] > tolerance)

    start = (jnp.zeros(size), jnp.eye(size), (jnp.zeros(size), jnp.zeros(size + 2 * size * size)))
    begin = (*start, jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf))
    shift, factor, (values, left), surprise, _, _ = jax.lax.while_loop(unsettled, sweep, begin)
    return SiteUpdate(shift, factor, values, surprise, left)


def _look(
    f: LogDensity, frame: Frame, information: Precision | None
) -> tuple[Array, Array, Float[Array, " R"]]:
    """Whitened gradient, curvature and remainder: averages over a frame, or those at its
    location.
    """
    if information is None:
        whitened = whitened_gradients(f, frame, 1e6)
        slope, bend = averages(whitened)
        return slope, bend, _remainder(*whitened, slope, bend)
    slope = solve_triangular(frame.factor, jax.grad(f)(frame.location), lower=True)
    half = solve_triangular(frame.factor, information(frame.location), lower=True)
    size = slope.shape[0]
    return (
        slope,
        solve_triangular(frame.factor, half.T, lower=True),
        jnp.zeros(size + 2 * size * size),
    )


def _remainder(
    centre: Array, ahead: Array, behind: Array, slope: Array, bend: Array
) -> Float[Array, " R"]:
    """What is left of whitened gradients at the cubature points when the Gaussian site is taken
    away.
    """
    away = REACH * bend
    return jnp.concatenate(
        [centre - slope, jnp.ravel(ahead - slope + away), jnp.ravel(behind - slope - away)]
    )


def apply_site(
    frame: Frame, low: Float[Array, " P"], shift: Array, factor: Array
) -> tuple[Frame, Float[Array, " P"]]:
    """The frame after a site, and what its location lost by rounding (two-sum, Knuth)."""
    after = frame.factor @ factor
    step = low + solve_triangular(frame.factor, shift, lower=True, trans=1)
    location = frame.location + step
    virtual = location - frame.location
    low = (frame.location - (location - virtual)) + (step - virtual)
    return Frame(location, after), low


def contraction(old: Frame, new: Frame) -> Float[Array, ""]:
    """Ratio of posterior sds, new to old: the geometric mean over all directions."""
    return jnp.exp((old.log_scale() - new.log_scale()) / old.location.shape[0])
