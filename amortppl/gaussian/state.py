"""States and posteriors that stand on a Gaussian frame."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.gaussian.accumulator import EvidenceSum
from amortppl.gaussian.filtering import Natural
from amortppl.gaussian.frame import Frame, lower_factor
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.third_order import Displaced


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
        surprise: mean over mini-batches of how much they surprised the frame before them (1 as
            expected).
        steps: how many mini-batches that is.
        moved: how far the last further pass moved the location, in posterior sds (root mean
            square).
        displaced: how far from the frame its evidence was expanded.
        funnel: of the coordinates that all these are in.
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
            low=zero,
            prior=Natural(zero, one),
            rows=none,
            context=jnp.zeros(context),
            left=jnp.zeros(latents + 2 * latents * latents),
            surprise=none,
            steps=none,
            moved=none,
            displaced=Displaced.none(latents),
            funnel=Funnel.none(plated),
        )

    def in_coordinates(self, funnel: Funnel) -> "State":
        """The state in other coordinates of the same latents: as the map between them is at its
        location.
        """
        if not funnel.plated:
            return self
        old, linear, precision = self.frame.location, *self.prior
        new = funnel.inverse(self.funnel.forward(old))
        back = self.funnel.inverse_jacobian(old) @ funnel.jacobian(new)
        forth = funnel.inverse_jacobian(new) @ self.funnel.jacobian(old)
        precise = back.T @ precision @ back
        return self._replace(
            frame=Frame(new, lower_factor(self.frame.factor.T @ back)),
            low=forth @ self.low,
            prior=Natural(back.T @ (linear - precision @ old) + precise @ new, precise),
            displaced=self.displaced.transform(forth),
            funnel=funnel,
        )


class Revisit(NamedTuple):
    """A further pass: the state after the last one, the state before these rows, and the evidence
    met again.
    """

    base: State
    since: Start | State
    again: EvidenceSum
