"""States and posteriors that stand on a Gaussian frame."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities import Density
from amortppl.evidence import Gathered, Natural
from amortppl.features import PriorScale
from amortppl.signals import Frame, lower_factor
from amortppl.third_order import Displaced
from amortppl.valley import Valley

FAR = 1e3
"""Whitened draws further out are set there. Where a frame is nowhere near its posterior, a flow whose coefficients were
never seen overflows; of such draws the model's own density leaves nothing, and k-hat says so."""


class Start(NamedTuple):
    """The state before any row: the prior."""


class State(NamedTuple):
    """The posterior so far, in prior units.

    Attributes:
        frame: the Gaussian frame of prior and all evidence seen.
        low: what the frame's location lost by rounding.
        prior: the prior's part in the frame.
        rows: how many rows were seen.
        context: mean of the encoded rows.
        left: what is not Gaussian: whitened residual gradients at the centre, and ahead and
            behind on each axis.
        surprise: mean over mini-batches of how much they surprised the frame before them (1 as expected).
        steps: how many mini-batches that is.
        moved: how far the last further pass moved the location, in posterior sds (root mean square).
        displaced: how far from the frame its evidence was expanded.
        valley: of the coordinates that all these are in.
    """

    frame: Frame
    low: Float[Array, " P"]
    prior: Natural
    rows: Array
    context: Float[Array, " E"]
    left: Float[Array, " R"]
    surprise: Array
    steps: Array
    moved: Array
    displaced: Displaced
    valley: Valley

    def seen_in(self, valley: Valley) -> "State":
        """The state in other coordinates of the same latents: as the map between them is at its location."""
        if not valley.plated:
            return self
        old, linear, precision = self.frame.location, *self.prior
        new = valley.straight(self.valley.bent(old))
        back = self.valley.slope_back(old) @ valley.slope(new)
        forth = valley.slope_back(new) @ self.valley.slope(old)
        precise = back.T @ precision @ back
        return self._replace(
            frame=Frame(new, lower_factor(self.frame.factor.T @ back)),
            low=forth @ self.low,
            prior=Natural(back.T @ (linear - precision @ old) + precise @ new, precise),
            displaced=self.displaced.seen_by(forth),
            valley=valley,
        )


class Revisit(NamedTuple):
    """A further pass: the state after the last one, the state before these rows, and the evidence met again."""

    base: State
    since: Start | State
    again: Gathered


class Posterior(eqx.Module):
    """A distribution over the latents' unconstrained vector."""

    scale: PriorScale
    frame: Frame
    density: Density
    coefficients: Float[Array, " K"]
    valley: Valley

    def log_prob(self, vector: Float[Array, " P"]) -> Array:
        """Log density of one unconstrained vector."""
        straight = self.valley.straight(self.scale.standardize(vector))
        return self.density.log_prob(self.frame.whiten(straight), self.coefficients) + self._log_scale(straight)

    def sample(self, key: PRNGKeyArray, draws: int) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Independent draws (S, P) and their log densities (S,)."""
        z, log_prob = self.density.sample(key, self.coefficients, draws)
        straight = self.frame.unwhiten(jnp.clip(z, -FAR, FAR))
        return self.scale.restore(self.valley.bent(straight)), log_prob + self._log_scale(straight)

    def _log_scale(self, straight: Float[Array, "*S P"]) -> Float[Array, "*S"]:
        return self.frame.log_scale() - jnp.sum(jnp.log(self.scale.scale)) - self.valley.log_slope(straight)
