"""Evidence of mini-batches met again, summed at one frame."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import averages, whitened_gradients
from amortppl.gaussian.filtering import _remainder
from amortppl.gaussian.frame import Frame, LogDensity, cholesky_of, clip_norm

FAR = 10.0
"""The longest step of a further pass, in posterior sds: beyond it the first pass went astray."""


class EvidenceSum(NamedTuple):
    """Whitened evidence of mini-batches met again, all at one frame: sums of slopes, curvatures and
    remainders.

    Attributes:
        slope, rest: the sum of gradients and what it lost by rounding.
        bend: the sum of curvatures.
        left: the sum of remainders.
        rows: how many rows were met again.
    """

    slope: Float[Array, " P"]
    rest: Float[Array, " P"]
    bend: Float[Array, "P P"]
    left: Float[Array, " R"]
    rows: Float[Array, ""]

    @classmethod
    def none(cls, size: int) -> "EvidenceSum":
        """Nothing yet."""
        zero = jnp.zeros(size)
        return cls(
            zero, zero, jnp.zeros((size, size)), jnp.zeros(size + 2 * size * size), jnp.zeros(())
        )

    def add(self, f: LogDensity, frame: Frame, rows: Array) -> "EvidenceSum":
        """With a mini-batch's log likelihood f, averaged over the frame."""
        whitened = whitened_gradients(f, frame, 1e6)
        slope, bend = averages(whitened)
        step = slope + self.rest
        total = self.slope + step
        left = self.left + _remainder(*whitened, slope, bend)
        return EvidenceSum(
            total, step - (total - self.slope), self.bend + bend, left, self.rows + rows
        )

    def blend(self, kept: tuple[Array, Array], share: Array) -> tuple[Array, Array]:
        """The site (shift, factor) that turns the frame into one of evidence that stays, old and
        new.

        A share s of the rows was met again. With k and K the average gradient and curvature, in the
        frame, of what stays (the prior, or an earlier posterior): precision K + (1 - s)(I - K) + W,
        gradient s k + g. At s = 1 it is one variational Newton step on all data; nothing counts
        twice at any s.
        """
        bend = (1.0 - share) * jnp.eye(len(self.slope)) + share * kept[1] + self.bend
        values, vectors = jnp.linalg.eigh((bend + bend.T) / 2)
        values = jnp.maximum(values, 0.2)
        slope = share * kept[0] + self.slope + self.rest
        shift = vectors @ ((vectors.T @ slope) / values)
        return clip_norm(shift, FAR), cholesky_of(values, vectors)


def seen_from(frame: Frame, other: Frame) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
    """Whitened gradient and curvature, at a frame's location, of the log density of another."""
    factor = solve_triangular(frame.factor, other.factor, lower=True)
    bend = factor @ factor.T
    return bend @ frame.whiten(other.location), bend
