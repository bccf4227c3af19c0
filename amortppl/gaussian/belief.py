"""A Gaussian over the latents that is moved in units of its own spread.

With latents u in prior units, N(m, S), and z standard normal:

    u = m + A z,    A = C'^-1 for a full precision C C',    A = diag(sd) for a diagonal one

A move (z, T) with T lower triangular sets m <- m + A z and C <- C T, or sd <- sd / diag(T).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.gaussian.frame import Frame

POINT_SD = 0.03
"""Sd of a point's readout, in prior units: draws and log densities need one."""

NARROWEST, WIDEST = -14.0, 2.0
"""Bounds of log sds, in prior units."""


def within_bounds(factor: Float[Array, "P P"]) -> Float[Array, "P P"]:
    """A precision's factor C with each latent's log sd inside the bounds, correlations kept.

    With D the diagonal matrix by which the sds are scaled, the covariance becomes D S D and its
    precision's factor D^-1 C, which is lower triangular too.

    Example: sds of 100 and 0.5.
        >>> [round(float(c), 2) for c in jnp.diag(within_bounds(jnp.diag(jnp.array([0.01, 2.0]))))]
        [0.14, 2.0]
    """
    inverse = solve_triangular(factor, jnp.eye(len(factor)), lower=True)
    log_sd = 0.5 * jnp.log(jnp.sum(inverse**2, 0))
    return factor * jnp.exp(log_sd - jnp.clip(log_sd, NARROWEST, WIDEST))[:, None]


class Belief(NamedTuple):
    """A point (spread (0,)), independent latents (log sds (P,)), or all (the precision's factor C).

    Attributes:
        location: m.
        low: what the location lost by rounding (Kahan's compensation), so that a million small
            moves add up.
        spread: by its number of axes and its length, which of the three it is.
        rows: how many rows were seen.
        recent: what the last steps saw and did, latest first: for each latent and step, three
            numbers.
        pull: of a further pass under way, the gradient of the prior that it began without (see
            `again`); zero otherwise.
    """

    location: Float[Array, " P"]
    low: Float[Array, " P"]
    spread: Float[Array, "*S"]
    rows: Float[Array, ""]
    recent: Float[Array, "P H"]
    pull: Float[Array, " P"]

    @property
    def full(self) -> bool:
        """Whether latents are correlated."""
        return self.spread.ndim == 2

    @property
    def point(self) -> bool:
        """Whether it is a location alone."""
        return self.spread.shape[0] == 0

    def log_sd(self) -> Float[Array, " P"]:
        """Log sd of each latent; zero for a point."""
        if self.full:
            return 0.5 * jnp.log(jnp.sum(self.inverse() ** 2, 0))
        return jnp.zeros_like(self.location) if self.point else self.spread

    def inverse(self) -> Float[Array, "P P"]:
        """C^-1 of a full spread."""
        return solve_triangular(self.spread, jnp.eye(len(self.location)), lower=True)

    def unwhiten(self, z: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """A z."""
        return z @ self.inverse() if self.full else z * jnp.exp(self.log_sd())

    def whiten(self, away: Float[Array, " P"]) -> Float[Array, " P"]:
        """A^-1 of a deviation from the location."""
        return self.spread.T @ away if self.full else away * jnp.exp(-self.log_sd())

    def whiten_gradient(self, slope: Float[Array, " P"]) -> Float[Array, " P"]:
        """A' g."""
        return self.inverse() @ slope if self.full else slope * jnp.exp(self.log_sd())

    def whiten_curvature(self, bend: Float[Array, "P P"]) -> Float[Array, "P P"]:
        """A' H A."""
        if self.full:
            inverse = self.inverse()
            return inverse @ bend @ inverse.T
        sd = jnp.exp(self.log_sd())
        return sd[:, None] * bend * sd

    def move(
        self, z: Float[Array, " P"], log_shrink: Float[Array, " P"], below: Array | None
    ) -> "Belief":
        """Location moved by A z, sds divided by exp(`log_shrink`), `below` under T's diagonal."""
        step = self.low + self.unwhiten(z)
        location = self.location + step
        virtual = location - self.location
        low = (self.location - (location - virtual)) + (step - virtual)
        return self._replace(location=location, low=low, spread=self._narrow(log_shrink, below))

    def _narrow(self, log_shrink: Float[Array, " P"], below: Array | None) -> Array:
        if self.point:
            return self.spread
        if not self.full:
            return jnp.clip(self.spread - log_shrink, NARROWEST, WIDEST)
        turn = jnp.diag(jnp.exp(log_shrink))
        return within_bounds(self.spread @ (turn if below is None else turn + jnp.tril(below, -1)))

    def again(self, since: "Belief") -> "Belief":
        """The belief at the start of a further pass over the rows seen after `since`.

        It stands where it is, as wide as before those rows: q = N(m, S0). Against the belief
        N(m0, S0) that it stands for it lacks the factor exp(u' S0^-1 (m0 - m)), which `pulled` puts
        back once the rows have come again. A point has no spread to weigh that by.
        """
        if self.point:
            return self._replace(rows=since.rows)
        away = since.location - self.location
        slope = (
            since.spread @ since.whiten(away)
            if self.full
            else (away * jnp.exp(-2.0 * since.log_sd()))
        )
        return self._replace(spread=since.spread, rows=since.rows, pull=slope)

    def pulled(self) -> "Belief":
        """The belief with what its pass began without: m <- m + S pull."""
        if self.point:
            return self
        moved = self.location + self.unwhiten(self.whiten_gradient(self.pull))
        return self._replace(location=moved, pull=jnp.zeros_like(self.pull))

    def log_prob(self, at: Float[Array, " P"]) -> Array:
        """Log density at latents in prior units; for a point with unit sds."""
        z = self.whiten(at - self.location)
        scale = jnp.sum(jnp.log(jnp.diag(self.spread))) if self.full else -jnp.sum(self.log_sd())
        return scale - 0.5 * jnp.sum(z * z + jnp.log(2.0 * jnp.pi))

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws in prior units and their log densities; a point is drawn with `POINT_SD`."""
        z = jr.normal(key, (draws, len(self.location)))
        wide = (
            self._replace(spread=jnp.full_like(self.location, jnp.log(POINT_SD)))
            if self.point
            else self
        )
        at = wide.location + wide.unwhiten(z)
        return at, jax.vmap(wide.log_prob)(at)

    def frame(self) -> Frame:
        """As a frame; a point gets `POINT_SD`."""
        if self.full:
            return Frame(self.location, self.spread)
        sd = jnp.full_like(self.location, POINT_SD) if self.point else jnp.exp(self.spread)
        return Frame(self.location, jnp.diag(1.0 / sd))
