"""The states of methods whose posterior stands on a Gaussian frame."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.accumulator import EvidenceSum
from amortppl.gaussian.filtering import Natural
from amortppl.gaussian.frame import Frame, lower_factor
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.third_order import Displaced

RENAMED = {
    "low": "rounding_error",
    "left": "residual",
    "slope": "gradient",
    "rest": "gradient_error",
    "bend": "curvature",
    "moves": "mode_gradient",
}
"""Fields of states saved by version 0.1, and what they are called now."""


class Start(NamedTuple):
    """The state before any row: the prior."""


class State(NamedTuple):
    """The posterior so far, in prior units.

    Attributes:
        frame: the Gaussian frame of prior and all evidence seen.
        rounding_error: what the frame's location lost by rounding.
        prior: the prior's part in the frame.
        rows: how many rows were seen.
        context: mean of the encoded rows.
        residual: what is not Gaussian: whitened residual gradients at the cubature points.
        surprise: mean of the mini-batches' `SiteUpdate.surprise`; 1 as expected.
        steps: how many mini-batches that is.
        moved: how far the last further pass moved the location, in posterior sds (root mean
            square).
        displaced: how far from the frame its evidence was expanded.
        funnel: gives the coordinates of all these.
    """

    frame: Frame
    rounding_error: Float[Array, " P"]
    prior: Natural
    rows: Array
    context: Float[Array, " E"]
    residual: Float[Array, " R"]
    surprise: Array
    steps: Array
    moved: Array
    displaced: Displaced
    funnel: Funnel

    @classmethod
    def of_prior(cls, latents: int, context: int, plated: tuple[bool, ...]) -> "State":
        """The state of no evidence: a standard normal in prior units stands for the prior.

        Args:
            latents: P.
            context: E, numbers in the encoded rows.
            plated: latents in plates, of the funnel.
        """
        none, zero, one = jnp.zeros(()), jnp.zeros(latents), jnp.eye(latents)
        return cls(
            frame=Frame(zero, one),
            rounding_error=zero,
            prior=Natural(zero, one),
            rows=none,
            context=jnp.zeros(context),
            residual=jnp.zeros(latents + 2 * latents * latents),
            surprise=none,
            steps=none,
            moved=none,
            displaced=Displaced.none(latents),
            funnel=Funnel.none(plated),
        )

    def in_coordinates(self, funnel: Funnel) -> "State":
        """The state in another funnel's coordinates, by the linear map at its location."""
        if not funnel.plated:
            return self
        old, linear, precision = self.frame.location, *self.prior
        new = funnel.inverse(self.funnel.forward(old))
        back = self.funnel.inverse_jacobian(old) @ funnel.jacobian(new)
        forth = funnel.inverse_jacobian(new) @ self.funnel.jacobian(old)
        precise = back.T @ precision @ back
        return self._replace(
            frame=Frame(new, lower_factor(self.frame.factor.T @ back)),
            rounding_error=forth @ self.rounding_error,
            prior=Natural(back.T @ (linear - precision @ old) + precise @ new, precise),
            displaced=self.displaced.transform(forth),
            funnel=funnel,
        )


class Revisit(NamedTuple):
    """The state of a further pass under way.

    Attributes:
        base: the state after the last pass.
        since: the state before the rows of this pass.
        again: the evidence met again.
    """

    base: State
    since: Start | State
    again: EvidenceSum
