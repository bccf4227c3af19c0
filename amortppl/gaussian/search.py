"""The Gaussian frame of a first mini-batch, found by a search from the prior.

Damped Newton steps to the mode; latents in plates placed given the others
(`amortppl.gaussian.nested_laplace`); then sweeps of Gaussian variational inference. Without the
curvature signal, Fisher information from the scores of simulated rows takes the Hessian's place.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from amortppl.gaussian.cubature import averages, variational_frame, whitened_gradients
from amortppl.gaussian.filtering import Natural
from amortppl.gaussian.frame import Frame, LogDensity, Precision
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.nested_laplace import nested_laplace
from amortppl.gaussian.newton import curvature, gradient_and_curvature, newton_mode
from amortppl.gaussian.plates import Plates
from amortppl.gaussian.row_chunks import many, row_chunks
from amortppl.gaussian.state import State
from amortppl.gaussian.third_order import Displaced
from amortppl.task.batch import Batch

LAST = 6
"""With many rows, all but the last Newton steps look at a few: their mode is near that of all."""

SCORING = 3
"""How many times the usual Newton steps Fisher scoring takes: it converges linearly."""


class Search(NamedTuple):
    """How the frame of a first mini-batch is found.

    Attributes:
        log: the model's log densities, in prior units.
        plates: which latents are placed given the others; None where there are none.
        newton: Newton steps to the mode.
        sweeps: Gaussian variational sweeps after it.
        curvature: whether the Hessian is used; else Fisher information.
    """

    log: Densities
    plates: Plates | None
    newton: int
    sweeps: int
    curvature: bool

    def state(self, state: State, starts: Float[Array, "S P"], batch: Batch) -> State:
        """The state of the prior and a first mini-batch.

        Args:
            state: the prior's, with the rows counted and encoded.
            starts: places to begin from, in prior units.
            batch: the mini-batch.
        """
        joint, steps = self.log.joint(batch), self._steps
        few = steps - LAST if many(self.log.task, batch) else 0
        frame = self._mode(joint, starts, batch, steps, few)
        left, funnel = state.left, state.funnel
        if self.curvature:
            frame, left, funnel = self._settle(joint, frame, self.sweeps)
        of_prior = partial(self.log.within(funnel).prior, batch=batch)
        prior = natural(*averages(whitened_gradients(of_prior, frame)), frame)
        frame, prior, left, funnel = jax.tree.map(stop_gradient, (frame, prior, left, funnel))
        displaced = Displaced.at(frame, state.rows)
        return state._replace(
            frame=frame, prior=prior, left=left, displaced=displaced, funnel=funnel
        )

    def refine(self, start: Float[Array, " P"], batch: Batch, times: int) -> tuple[Frame, Funnel]:
        """The frame after more Newton steps and sweeps, `times` as many."""
        joint = self.log.joint(batch)
        frame = self._mode(joint, start, batch, times * self._steps)
        frame, _, funnel = self._settle(joint, frame, times * max(self.sweeps, 1))
        return jax.tree.map(stop_gradient, (frame, funnel))

    def information(self, batch: Batch, before: Array) -> Precision | None:
        """Without the curvature signal, the rows' Fisher information; `before`, how many rows came
        earlier, makes its key.
        """
        if self.curvature:
            return None
        return self.log.information(batch, jr.fold_in(jr.key(0), before.astype(int)))

    @property
    def _steps(self) -> int:
        return self.newton * (1 if self.curvature else SCORING)

    def _mode(
        self, joint: LogDensity, start: Array, batch: Batch, steps: int, few: int = 0
    ) -> Frame:
        derivatives = self.plates.slope_and_curvature if self.plates else gradient_and_curvature
        precision = self._scoring(batch)
        return newton_mode(joint, start, precision, steps, few, derivatives=derivatives)

    def _settle(self, joint: LogDensity, frame: Frame, sweeps: int) -> tuple[Frame, Array, Funnel]:
        """From the mode to where the mass lies: latents in plates given the others, these by their
        marginal density.
        """
        funnel = Funnel.none()
        if self.plates:
            frame, funnel = nested_laplace(joint, frame.location, self.plates)

        def inside(at: Array) -> Array:
            return joint(funnel.forward(at)) + funnel.log_det(at)

        return *variational_frame(inside, frame, sweeps), funnel

    def _scoring(self, batch: Batch) -> Callable[..., Array] | None:
        """The precision that Fisher scoring goes by: the prior's and the rows' information."""
        information = self.information(batch, jnp.zeros(()))
        if information is None:
            return None
        share = jnp.sum(row_chunks(batch.mask).used[0]) / jnp.maximum(jnp.sum(batch.mask), 1)

        def precision(at: Array, few: Array | bool = False) -> Array:
            prior = curvature(partial(self.log.prior, batch=batch), at)
            return prior + jnp.where(few, share, 1.0) * information(at)

        return precision


def natural(slope: Array, bend: Array, frame: Frame) -> Natural:
    """A factor's natural parameters from its whitened average gradient and curvature in a frame."""
    precision = frame.factor @ bend @ frame.factor.T
    return Natural(frame.factor @ slope + precision @ frame.location, precision)
