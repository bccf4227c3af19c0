"""Evidence of mini-batches met again in a further pass, summed at one frame."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import averages, whitened_gradients
from amortppl.gaussian.filtering import site_residual
from amortppl.gaussian.frame import Frame, LogDensity, Spectrum, clip_norm

FAR = 10.0
"""The longest step of a further pass, in posterior sds: beyond it the first pass went astray."""


class EvidenceSum(NamedTuple):
    """Sums of whitened gradients, curvatures and residuals of mini-batches, all at one frame.

    Attributes:
        gradient, gradient_error: the sum of gradients and what it lost by rounding.
        curvature: the sum of curvatures.
        residual: the sum of residuals.
        rows: how many rows were met again.
    """

    gradient: Float[Array, " P"]
    gradient_error: Float[Array, " P"]
    curvature: Float[Array, "P P"]
    residual: Float[Array, " R"]
    rows: Float[Array, ""]

    @classmethod
    def none(cls, size: int) -> "EvidenceSum":
        """The sum over no rows, for P = `size` latents."""
        zero = jnp.zeros(size)
        return cls(
            zero, zero, jnp.zeros((size, size)), jnp.zeros(size + 2 * size * size), jnp.zeros(())
        )

    def add(self, f: LogDensity, frame: Frame, rows: Array) -> "EvidenceSum":
        """The sum with a mini-batch's log likelihood f, averaged over the frame (Kahan's sum)."""
        whitened = whitened_gradients(f, frame, 1e6)
        gradient, curvature = averages(whitened)
        after = self.plus(gradient, curvature, rows)
        residual = site_residual(*whitened, gradient, curvature)
        return after._replace(residual=self.residual + residual)

    def plus(self, gradient: Array, curvature: Array, rows: Array) -> "EvidenceSum":
        """The sum with a mini-batch's whitened gradient and curvature (Kahan's sum)."""
        step = gradient + self.gradient_error
        total = self.gradient + step
        error = step - (total - self.gradient)
        return self._replace(
            gradient=total,
            gradient_error=error,
            curvature=self.curvature + curvature,
            rows=self.rows + rows,
        )

    def blend(self, kept: tuple[Array, Array], share: Array) -> tuple[Array, Array]:
        """The site (shift, factor) that turns the frame into one of kept, old and new evidence.

        A share s of the rows was met again. With k and K the average gradient and curvature, in the
        frame, of what stays (the prior, or an earlier posterior): precision K + (1 - s)(I - K) + W,
        gradient s k + g. At s = 1 it is one variational Newton step on all data; nothing counts
        twice at any s.

        Args:
            kept: k (P,) and K (P, P).
            share: s.
        """
        precision = (1.0 - share) * jnp.eye(len(self.gradient)) + share * kept[1] + self.curvature
        values, vectors = jnp.linalg.eigh((precision + precision.T) / 2)
        spectrum = Spectrum(jnp.maximum(values, 0.2), vectors)
        gradient = share * kept[0] + self.gradient + self.gradient_error
        return clip_norm(spectrum.solve(gradient), FAR), spectrum.cholesky()


def seen_from(frame: Frame, other: Frame) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
    """Whitened gradient and curvature, at a frame's location, of another frame's log density."""
    factor = solve_triangular(frame.factor, other.factor, lower=True)
    curvature = factor @ factor.T
    return curvature @ frame.whiten(other.location), curvature
