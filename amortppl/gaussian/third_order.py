"""The third-order term of evidence whose mini-batches were expanded elsewhere than where the frame
stands now.

A site is a mini-batch's log likelihood to second order around the frame of its time, m_b. Since
then the frame has moved to m, and what all n_b rows of the sites miss there are, with T the third
derivative of a row's log density,

    gradient   1/2 T : sum_b n_b [(m_b - m)(m_b - m)' + V - V_b],      curvature   sum_b n_b T (m_b
    - m)

(V and V_b, the covariances of the frame now and then, since gradients are averages over it). The
sums are carried along, but for n V, which the frame says; T, alike for all rows' mean, is taken
from the newest mini-batch whenever the rows have grown enough. The terms are those of the delta
method: Tierney and Kadane 1986, "Accurate approximations for posterior moments and marginal
    densities", JASA 81.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float

from amortppl.gaussian.filtering import apply_site
from amortppl.gaussian.frame import Frame, LogDensity

GROWTH = 1.5
"""How many times the rows of the last correction call for the next."""

ALIKE = 2.0
"""How many times more or less evidence than the earlier rows the newest may hold for each of
theirs, in any direction,
to say what third derivatives all have: a few rows far out can hold most of it."""

LARGE = 0.2
"""A relative change of the precision at which half of a correction is taken: terms of higher order
are no smaller.
"""


class Displaced(NamedTuple):
    """How far from the frame the sites' rows were expanded.

    Attributes:
        first: sum_b n_b (m_b - m).
        squares: sum_b n_b [(m_b - m)(m_b - m)' - V_b].
        rows: rows seen when the last correction was made, or the first mini-batch's.
    """

    first: Float[Array, " P"]
    squares: Float[Array, "P P"]
    rows: Float[Array, ""]

    @classmethod
    def none(cls, size: int) -> "Displaced":
        """No rows."""
        return cls(jnp.zeros(size), jnp.zeros((size, size)), jnp.zeros(()))

    @classmethod
    def at(cls, frame: Frame, rows: Array) -> "Displaced":
        """So many rows, all expanded where the frame stands."""
        spread = rows * _covariance(frame.inverse())
        return cls(jnp.zeros(len(spread)), -spread, jnp.asarray(rows, float))

    def transform(self, forth: Float[Array, "P P"]) -> "Displaced":
        """In coordinates to which the matrix leads."""
        return Displaced(forth @ self.first, forth @ self.squares @ forth.T, self.rows)

    def after(self, step: Float[Array, " P"], rows: Array) -> "Displaced":
        """With the frame of so many rows moved by a step."""
        cross = jnp.outer(self.first, step)
        return Displaced(
            self.first - rows * step,
            self.squares - cross - cross.T + rows * jnp.outer(step, step),
            self.rows,
        )

    def again(self, frame: Frame, rows: Array, share: Array) -> "Displaced":
        """With a share of so many rows expanded anew where the frame stands."""
        return Displaced(
            (1.0 - share) * self.first,
            (1.0 - share) * self.squares - share * rows * _covariance(frame.inverse()),
            self.rows,
        )

    def due(self, rows: Array, count: Array, gains: Float[Array, " P"]) -> Bool[Array, ""]:
        """Whether the rows have grown enough since the last correction, and the newest speak for
        the others.
        """
        share = gains * (rows - count) / jnp.maximum(count, 1)
        return (rows >= GROWTH * self.rows) & jnp.all((share > 1 / ALIKE) & (share < ALIKE))

    def correct(
        self,
        f: LogDensity,
        frame: Frame,
        low: Float[Array, " P"],
        rows: Array,
        count: Array,
        gains: Float[Array, " P"],
    ) -> tuple[Frame, Float[Array, " P"], "Displaced"]:
        """A frame, and what its location lost by rounding, moved by what the sites miss there, when
        that is due.

        Args:
            f: log likelihood of the newest mini-batch.
            frame, low: where the frame stands.
            rows: of all sites, the newest mini-batch's among them.
            count: rows of the newest mini-batch.
            gains: eigenvalues of the newest mini-batch's curvature in units of all earlier
                evidence.

        Returns:
            The frame and what its location lost, and `Displaced` with the newest mini-batch's rows.
        """
        inverse = frame.inverse()
        spread = _covariance(inverse)
        here = self._replace(squares=self.squares - count * spread)

        def correct() -> tuple[Frame, Array, Displaced]:
            move = stop_gradient(here._missing(f, frame, inverse, rows * spread, count))
            new, after = apply_site(frame, low, *move)
            expanded = Displaced(jnp.zeros(len(low)), -rows * spread, rows)
            return new, after, expanded.after(new.location - frame.location + after - low, rows)

        return jax.lax.cond(here.due(rows, count, gains), correct, lambda: (frame, low, here))

    def _missing(
        self,
        f: LogDensity,
        frame: Frame,
        inverse: Float[Array, "P P"],
        spread: Float[Array, "P P"],
        count: Array,
    ) -> tuple[Float[Array, " P"], Float[Array, "P P"]]:
        """The site (shift, factor) of what the sites miss, in the frame's whitened coordinates.

        Of n rows the mean of T is known to about P / n of its square.
        """
        size = len(self.first)
        slope_of = jax.grad(f)

        def third(one: Array, other: Array) -> Array:
            """T[one, other, .], summed over the mini-batch's rows."""
            along = lambda at: jax.jvp(slope_of, (at,), (one,))[1]  # noqa: E731
            return jax.jvp(along, (frame.location,), (other,))[1]

        others = jnp.stack([self.squares + spread, jnp.broadcast_to(self.first, (size, size))])
        found = jax.vmap(jax.vmap(third), in_axes=(None, 0))(jnp.eye(size), others) / (count + size)
        found = jnp.nan_to_num(found, posinf=0.0, neginf=0.0)
        slope = 0.5 * inverse @ jnp.sum(found[0], 0)
        bend = inverse @ found[1] @ inverse.T
        amount = 1.0 / (1.0 + (_largest(bend) / LARGE) ** 2)
        factor = jnp.linalg.cholesky(jnp.eye(size) + amount * (bend + bend.T) / 2)
        shift = cho_solve((factor, True), amount * slope)
        return shift * jnp.minimum(1.0, 1.0 / (jnp.linalg.norm(shift) + 1e-9)), factor


def _largest(matrix: Float[Array, "P P"]) -> Float[Array, ""]:
    """The largest eigenvalue of a symmetric matrix in absolute value, or up to P^(1/8) times that:
    |M^4|^(1/4).
    """
    scale = jnp.max(jnp.abs(matrix)) + 1e-30
    square = (matrix / scale) @ (matrix / scale)
    return scale * jnp.sqrt(jnp.sqrt(jnp.linalg.norm(square @ square)))


def _covariance(inverse: Float[Array, "P P"]) -> Float[Array, "P P"]:
    return inverse.T @ inverse
