"""The Gaussian frame of a first mini-batch, by a search from the prior.

Damped Newton steps lead to the mode. Latents in plates are then placed given the others
(`amortppl.gaussian.nested_laplace`). Sweeps of Gaussian variational inference follow. Without the
curvature signal, Fisher information from the scores of simulated rows replaces the Hessian.
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
from amortppl.gaussian.frame import Frame, LogDensity, Precision
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.marginal_search import STEPS
from amortppl.gaussian.nested_laplace import HierarchicalSearch
from amortppl.gaussian.newton import curvature, newton_mode
from amortppl.gaussian.placement import Placed, natural
from amortppl.gaussian.plan import Effort
from amortppl.gaussian.plates import Plates
from amortppl.gaussian.row_chunks import many, row_chunks
from amortppl.gaussian.state import State
from amortppl.gaussian.third_order import Displaced
from amortppl.task.batch import Batch

LAST = 6
"""Newton steps on all rows, where there are many; earlier ones use a few, whose mode is near."""

MANY, FEWER = 1 << 14, 2
"""Rows from which on the mode of a few rows is so near that of all, and the posterior so near a
Gaussian, that Newton steps on all rows and sweeps are divided by this."""

SCORING = 3
"""Multiple of the usual Newton steps that Fisher scoring takes: it converges linearly."""


class Search(NamedTuple):
    """The search for the frame of a first mini-batch.

    Attributes:
        log: the model's log densities, in prior units.
        plates: which latents are placed given the others; None where there are none.
        newton: Newton steps to the mode.
        sweeps: Gaussian variational sweeps after it.
        curvature: whether the Hessian is used; else Fisher information.
        steps: Newton steps of the latents outside plates by their marginal density.
    """

    log: Densities
    plates: Plates | None
    newton: int
    sweeps: int
    curvature: bool
    steps: int = STEPS

    def state(self, state: State, starts: Float[Array, "S P"], batch: Batch) -> State:
        """The state of the prior and a first mini-batch.

        Args:
            state: the prior's, with the rows counted and encoded.
            starts: places to begin from, in prior units.
            batch: the mini-batch.
        """
        if self.plates:
            placed = self._hierarchical(starts, batch, 1)
        else:
            placed = self._place(state, starts, batch)
        placed = jax.tree.map(stop_gradient, placed)
        return state._replace(**placed._asdict(), displaced=Displaced.at(placed.frame, state.rows))

    def _place(self, state: State, starts: Float[Array, "S P"], batch: Batch) -> Placed:
        """The frame of a model without plates: Newton's mode, then sweeps."""
        joint, steps, sweeps = self.log.joint(batch), self._steps, self.sweeps
        few = steps - LAST if many(self.log.task, batch) else 0
        if few > 0 and batch.mask.shape[0] >= MANY:
            steps, sweeps = few + LAST // FEWER, -(-sweeps // FEWER)
        frame, residual = self._mode(joint, starts, batch, steps, few), state.residual
        if self.curvature:
            frame, residual = variational_frame(joint, frame, sweeps)
        of_prior = partial(self.log.prior, batch=batch)
        prior = natural(*averages(whitened_gradients(of_prior, frame)), frame)
        return Placed(frame, state.funnel, residual, prior)

    def _hierarchical(self, starts: Float[Array, "S P"], batch: Batch, times: int) -> Placed:
        assert self.plates is not None
        effort = Effort(times * self.newton, self.steps, times * max(self.sweeps, times > 1))
        return HierarchicalSearch(self.log.derivatives(batch), self.plates, starts, effort).run()

    def refine(self, start: Float[Array, " P"], batch: Batch, times: int) -> tuple[Frame, Funnel]:
        """The frame and funnel after `times` as many Newton steps and sweeps."""
        if self.plates:
            placed = self._hierarchical(start[None], batch, times)
            return jax.tree.map(stop_gradient, (placed.frame, placed.funnel))
        joint = self.log.joint(batch)
        frame = self._mode(joint, start, batch, times * self._steps)
        frame, _ = variational_frame(joint, frame, times * max(self.sweeps, 1))
        return stop_gradient(frame), Funnel.none()

    def information(self, batch: Batch, before: Array) -> Precision | None:
        """The rows' Fisher information; None with the curvature signal, which needs none.

        Args:
            batch: the rows.
            before: how many rows came earlier; it makes the key of the simulated rows.
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
        return newton_mode(joint, start, self._scoring(batch), steps, few)

    def _scoring(self, batch: Batch) -> Callable[..., Array] | None:
        """The precision of a step of Fisher scoring: the prior's plus the rows' information."""
        information = self.information(batch, jnp.zeros(()))
        if information is None:
            return None
        share = jnp.sum(row_chunks(batch.mask).used[0]) / jnp.maximum(jnp.sum(batch.mask), 1)

        def precision(at: Array, few: Array | bool = False) -> Array:
            prior = curvature(partial(self.log.prior, batch=batch), at)
            return prior + jnp.where(few, share, 1.0) * information(at)

        return precision
