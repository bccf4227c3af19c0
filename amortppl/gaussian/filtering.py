"""Assumed-density filtering: evidence of mini-batches, added to a Gaussian frame.

A frame N(m, (C C')^-1) holds prior and evidence so far. A mini-batch adds a Gaussian site. Its
gradient g and curvature W, in the frame's whitened coordinates, are averages over the posterior
that it leads to. That posterior is located at z, a fixed point:

    z = g(z, W),    C <- C chol(I + W),    m <- m + C'^-1 z

Natural parameters are never formed, so that float32 serves at any number of rows: the factor is
multiplied, and what the location loses by rounding is carried along. Opper and Winther 1998, "A
Bayesian approach to on-line learning" (assumed-density filtering); Opper and Archambeau 2009, "The
variational Gaussian approximation revisited" (the averages).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import REACH, averages, whitened_gradients
from amortppl.gaussian.frame import Frame, LogDensity, Precision, Spectrum, clip_norm

MOST, TOLERANCE = 8, 0.005
"""Most sweeps per mini-batch, and the change in posterior sds that ends them.

The first mini-batches need several sweeps, late ones, whose share is small, need one.
"""


class Natural(NamedTuple):
    """A Gaussian factor's natural parameters: linear term h and precision B, exp(h'u - u'Bu/2)."""

    linear: Float[Array, " P"]
    precision: Float[Array, "P P"]


class SiteUpdate(NamedTuple):
    """A mini-batch's Gaussian site, in the whitened coordinates of the frame before it.

    Attributes:
        shift: z, the new location.
        factor: chol(I + W), lower.
        gains: eigenvalues w of W.
        surprise: g'(W + W^2)^-1 g / P at the old location, where W^2 allows for the old frame's
            width: about 1 when the rows are as the frame expects them.
        residual: the part of the gradients at the cubature points that is not the site's.
    """

    shift: Float[Array, " P"]
    factor: Float[Array, "P P"]
    gains: Float[Array, " P"]
    surprise: Float[Array, ""]
    residual: Float[Array, " R"]

    @property
    def share(self) -> Float[Array, ""]:
        """Mean of w / (1 + w): how much of the evidence is new."""
        grown = jnp.maximum(self.gains, 0.0)
        return jnp.mean(grown / (1.0 + grown))


class _Sweep(NamedTuple):
    """A guess of the site between two sweeps; see `SiteUpdate`."""

    shift: Array
    factor: Array
    gains: Array
    residual: Array
    surprise: Array
    count: Array
    change: Array

    @classmethod
    def begin(cls, size: int) -> "_Sweep":
        shift, factor = jnp.zeros(size), jnp.eye(size)
        gains, residual = jnp.zeros(size), jnp.zeros(size + 2 * size * size)
        none, count = jnp.zeros(()), jnp.zeros((), jnp.int32)
        return cls(shift, factor, gains, residual, none, count, jnp.asarray(jnp.inf))


def site_update(
    f: LogDensity,
    frame: Frame,
    information: Precision | None = None,
    most: int = MOST,
    tolerance: float = TOLERANCE,
) -> SiteUpdate:
    """The site of a mini-batch's log likelihood f, averaged over the posterior it leads to.

    A sweep averages gradient and curvature over the current guess by cubature, then solves for the
    next guess. Sweeps end when the shift times the batch's curvature, which is about what another
    sweep would change, is below `tolerance` posterior sds, or after `most` sweeps.

    Args:
        f: log likelihood of the mini-batch.
        frame: prior and evidence so far.
        information: curvature at a point that takes the place of averages: a sweep then uses the
            gradient and this at the guess alone (Fisher scoring), and the residual is zero.
        most, tolerance: when to stop.
    """

    def sweep(now: _Sweep) -> _Sweep:
        guess = Frame(frame.unwhiten(now.shift), frame.factor @ now.factor)
        gradient, curvature, residual = _site_at(f, guess, information)
        g, w = now.factor @ gradient, now.factor @ curvature @ now.factor.T
        values, vectors = jnp.linalg.eigh((w + w.T) / 2)
        values = jnp.maximum(values, -0.5)
        posterior = Spectrum(1.0 + values, vectors)
        step = clip_norm(posterior.solve(g - now.shift), 2.0)
        spread = jnp.maximum(values, 1e-6)
        surprise = jnp.mean((vectors.T @ g) ** 2 / (spread * (1.0 + spread)))
        first = jnp.where(now.count == 0, surprise, now.surprise)
        change = jnp.linalg.norm(step) * jnp.max(jnp.abs(values))
        shift, factor = now.shift + step, posterior.cholesky()
        return _Sweep(shift, factor, values, residual, first, now.count + 1, change)

    def unsettled(now: _Sweep) -> Array:
        return (now.count < most) & (now.change > tolerance)

    begin = _Sweep.begin(frame.location.shape[0])
    end = jax.lax.while_loop(unsettled, sweep, begin)
    return SiteUpdate(end.shift, end.factor, end.gains, end.surprise, end.residual)


def _site_at(
    f: LogDensity, frame: Frame, information: Precision | None
) -> tuple[Array, Array, Float[Array, " R"]]:
    """Whitened gradient, curvature and residual: averages over a frame, or at its location."""
    if information is None:
        whitened = whitened_gradients(f, frame, 1e6)
        gradient, curvature = averages(whitened)
        return gradient, curvature, site_residual(*whitened, gradient, curvature)
    gradient = solve_triangular(frame.factor, jax.grad(f)(frame.location), lower=True)
    half = solve_triangular(frame.factor, information(frame.location), lower=True)
    size = gradient.shape[0]
    return (
        gradient,
        solve_triangular(frame.factor, half.T, lower=True),
        jnp.zeros(size + 2 * size * size),
    )


def site_residual(
    centre: Array, ahead: Array, behind: Array, gradient: Array, curvature: Array
) -> Float[Array, " R"]:
    """Whitened gradients at the cubature points minus those of the Gaussian site."""
    away = REACH * curvature
    return jnp.concatenate(
        [centre - gradient, jnp.ravel(ahead - gradient + away), jnp.ravel(behind - gradient - away)]
    )


def apply_site(
    frame: Frame, rounding_error: Float[Array, " P"], shift: Array, factor: Array
) -> tuple[Frame, Float[Array, " P"]]:
    """The frame after a site, and what its location lost by rounding (two-sum, Knuth)."""
    after = frame.factor @ factor
    step = rounding_error + solve_triangular(frame.factor, shift, lower=True, trans=1)
    location = frame.location + step
    virtual = location - frame.location
    error = (frame.location - (location - virtual)) + (step - virtual)
    return Frame(location, after), error


def contraction(old: Frame, new: Frame) -> Float[Array, ""]:
    """Ratio of posterior sds, new to old: the geometric mean over all directions."""
    return jnp.exp((old.log_scale() - new.log_scale()) / old.location.shape[0])
