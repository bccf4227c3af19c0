"""The third-order term of evidence whose mini-batches were expanded elsewhere than where the frame stands now.

A site is a mini-batch's log likelihood to second order around the frame of its time, m_b. Since then the frame has
moved to m, and what all n_b rows of the sites miss there are, with T the third derivative of a row's log density,

    gradient   1/2 T : sum_b n_b [(m_b - m)(m_b - m)' + V - V_b],      curvature   sum_b n_b T (m_b - m)

(V and V_b, the covariances of the frame now and then, since gradients are averages over it). The two sums are
carried along; T, alike for all rows' mean, is taken from the newest mini-batch whenever the rows have grown enough.
The terms are those of the delta method: Tierney and Kadane 1986, "Accurate approximations for posterior moments and
marginal densities", JASA 81.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float

from amortppl.evidence import moved
from amortppl.signals import Frame, LogDensity, cholesky_of

GROWTH = 1.5
"""How many times the rows of the last correction call for the next."""

ALIKE = 2.0
"""How many times more or less evidence than the earlier rows the newest may hold for each of theirs, in any direction,
to say what third derivatives all have: a few rows far out can hold most of it."""

LARGE = 0.2
"""A relative change of the precision at which half of a correction is taken: terms of higher order are no smaller."""


class Displaced(NamedTuple):
    """How far from the frame the sites' rows were expanded.

    Attributes:
        first: sum_b n_b (m_b - m).
        second: sum_b n_b [(m_b - m)(m_b - m)' + V - V_b].
        rows: rows seen when the last correction was made, or the first mini-batch's.
    """

    first: Float[Array, " P"]
    second: Float[Array, "P P"]
    rows: Float[Array, ""]

    @classmethod
    def none(cls, size: int, rows: Array | float = 0.0) -> "Displaced":
        """All rows expanded where the frame stands."""
        return cls(jnp.zeros(size), jnp.zeros((size, size)), jnp.asarray(rows, float))

    def after(self, old: Frame, new: Frame, lost: Float[Array, " P"], rows: Array) -> "Displaced":
        """With the frame of so many rows moved, its location further by `lost` than float32 says."""
        step = new.location - old.location + lost
        cross = jnp.outer(self.first, step)
        second = self.second - cross - cross.T + rows * (jnp.outer(step, step) + _covariance(new) - _covariance(old))
        return Displaced(self.first - rows * step, second, self.rows)

    def due(self, rows: Array, count: Array, gain: Float[Array, "P P"]) -> Bool[Array, ""]:
        """Whether the rows have grown enough since the last correction, and the newest speak for the others."""
        change = gain @ gain.T - jnp.eye(len(gain))
        share = jnp.linalg.eigvalsh((change + change.T) / 2) * (rows - count) / jnp.maximum(count, 1)
        return (rows >= GROWTH * self.rows) & jnp.all((share > 1 / ALIKE) & (share < ALIKE))

    def corrected(
        self, f: LogDensity, frame: Frame, low: Float[Array, " P"], rows: Array, count: Array, gain: Float[Array, "P P"]
    ) -> tuple[Frame, Float[Array, " P"], "Displaced"]:
        """A frame, and what its location lost by rounding, moved by what the sites miss there, when that is due.

        Args:
            f: log likelihood of the newest mini-batch.
            frame, low: where the frame stands.
            rows: of all sites, the newest mini-batch's among them.
            count: rows of the newest mini-batch.
            gain: chol(I + W), W the newest mini-batch's curvature in units of all earlier evidence.
        """

        def correct() -> tuple[Frame, Array, Displaced]:
            move = stop_gradient(self._missing(f, frame, count))
            new, after = moved(frame, low, *move)
            return new, after, Displaced.none(len(low), rows).after(frame, new, after - low, rows)

        return jax.lax.cond(self.due(rows, count, gain), correct, lambda: (frame, low, self))

    def _missing(self, f: LogDensity, frame: Frame, count: Array) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
        """The site (shift, factor) of what the sites miss, in the frame's whitened coordinates.

        Of n rows the mean of T is known to about P / n of its square.
        """
        size = len(self.first)
        values, vectors = jnp.linalg.eigh((self.second + self.second.T) / 2)
        slope_of = jax.grad(f)

        def third(one: Array, other: Array) -> Array:
            """T[one, other, .], summed over the mini-batch's rows."""
            along = lambda at: jax.jvp(slope_of, (at,), (one,))[1]  # noqa: E731
            return jax.jvp(along, (frame.location,), (other,))[1]

        ahead = jnp.concatenate([vectors.T, jnp.broadcast_to(self.first, (size, size))])
        found = jax.vmap(third)(ahead, jnp.concatenate([vectors.T, jnp.eye(size)]))
        found = jnp.nan_to_num(found / (count + size), posinf=0.0, neginf=0.0)
        slope = solve_triangular(frame.factor, 0.5 * values @ found[:size], lower=True)
        half = solve_triangular(frame.factor, found[size:], lower=True)
        bend = solve_triangular(frame.factor, half.T, lower=True)
        changes, axes = jnp.linalg.eigh((bend + bend.T) / 2)
        amount = 1.0 / (1.0 + (jnp.max(jnp.abs(changes)) / LARGE) ** 2)
        precision = 1.0 + amount * changes
        shift = axes @ ((axes.T @ (amount * slope)) / precision)
        return shift * jnp.minimum(1.0, 1.0 / (jnp.linalg.norm(shift) + 1e-9)), cholesky_of(precision, axes)


def _covariance(frame: Frame) -> Float[Array, "P P"]:
    inverse = solve_triangular(frame.factor, jnp.eye(len(frame.location)), lower=True)
    return inverse.T @ inverse
