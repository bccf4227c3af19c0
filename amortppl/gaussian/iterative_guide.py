"""The parametric method on the learned update: built by `iterative_parametric` and `reverse_kl`."""

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.gaussian import Gaussian
from amortppl.errors import GuideError
from amortppl.gaussian.belief import Belief
from amortppl.gaussian.filtering import Natural
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.learned_steps import LearnedSteps
from amortppl.gaussian.learned_update import LearnedUpdate
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.objectives import SCORES
from amortppl.gaussian.posterior import Posterior
from amortppl.gaussian.union import union
from amortppl.gaussian.update_inputs import FAR, Rows, Shape
from amortppl.method import Target
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale, RowScaler, simulated_scales

HELD_OUT = 16
"""Rows of the predictive objective."""

POWERS = (1.0, 0.3, 0.03)
"""Powers of sites that training may begin from."""


class IterativeGuide(LearnedSteps):
    """The built method.

    Attributes:
        options: of the method, every default made definite: `signals`, `posterior`, `objective`,
            `closed_form`, `history`, `most`, `width`, `layers` and `heads`.
        queries: held-out rows, where these make the score.
    """

    task: AbstractTask = eqx.field(static=True)
    options: Any = eqx.field(static=True)
    scale: PriorScale
    rows: RowScaler
    update: LearnedUpdate
    queries: int = eqx.field(static=True)  # pyright: ignore[reportIncompatibleVariableOverride]
    regime: ClassVar[str] = "parametric"
    revision: ClassVar[int] = 2

    @property
    def keeps_start(self) -> bool:
        """Whether it begins with sites, which are an answer by themselves."""
        return self.options.closed_form

    @property
    def starts(self) -> "tuple[IterativeGuide, ...]":
        """Sites as they are, and powers of them: where a site is sure of a wrong mode, a power of
        one is farther from any good one than gradient steps go.
        """
        if not self.options.closed_form:
            return (self,)
        return tuple(eqx.tree_at(lambda g: g.update, self, self.update.trusting(a)) for a in POWERS)

    def readout(self, state: Belief) -> Posterior:
        """The Gaussian."""
        family, frame = Gaussian(self.task.latents.size), self.finalize(state).frame()
        return Posterior(stop_gradient(self.scale), frame, family, family.initial(), Funnel.none())

    def score(self, state: Belief, target: Target) -> Array:
        """The objective, in nats."""
        return SCORES[self.options.objective](state, self._log, target)

    def start_pass(self, state: Belief, since: Belief) -> Belief:
        """The state before rows that it has seen come again; see `Belief.again`."""
        return self.finalize(state).again(since)

    def finalize(self, state: Belief) -> Belief:
        """The state with the further pass that is under way finished."""
        return state.pulled()

    def combine(self, states: Sequence[Belief]) -> Belief:
        """The state of the union of disjoint rows: natural parameters add, theta_0 counts once.

        Points average, weighted by their rows.

        Raises:
            GuideError: the states' precisions do not add up to one.
        """
        states = [self.finalize(s) for s in states]
        rows, first = jnp.stack([s.rows for s in states]), self.init()
        begun = first._replace(rows=jnp.sum(rows))
        if first.point:
            places = jnp.stack([s.location for s in states])
            return begun._replace(location=rows @ places / jnp.sum(rows))
        start = first.frame()
        precision = start.factor @ start.factor.T
        held = [Natural(precision @ start.location, precision)] * len(states)
        try:
            frame, low, _ = union([(s.frame(), s.low) for s in states], held)
        except np.linalg.LinAlgError as error:
            raise GuideError(
                f"combine: the evidence of {len(states)} states does not add up to a Gaussian; "
                "some are wider than the state before any row. Train for longer, or take all rows "
                "one after another"
            ) from error
        spread = frame.factor if first.full else -jnp.log(jnp.diag(frame.factor))
        return begun._replace(location=frame.location, low=low, spread=spread)

    @property
    def _log(self) -> Densities:
        return Densities(self.task, stop_gradient(self.scale), False)

    def _seen(self) -> Rows:
        log, first = self._log, stop_gradient(self.init())
        lead = self.task.memory if self.task.ordered else 0
        if not self.task.likelihood:
            return Rows(self._tokens, None, lead=lead)
        return Rows(
            self._tokens,
            lambda batch, _: lambda at: log.by_row(at, batch),
            lambda at: log.prior(at) - first.log_prob(at),
            lead=lead,
        )

    def _tokens(self, batch: Batch) -> Float[Array, "B R"]:
        """Rows in units of simulated ones, and their arcsinh."""
        curved = self.rows(batch.data)
        return jnp.concatenate([jnp.clip(jnp.sinh(curved), -FAR, FAR), curved], -1)


def iterative_guide(task: AbstractTask, options: Any, key: PRNGKeyArray) -> IterativeGuide:
    """Draws the weights for a task; units come from simulated rows.

    Raises:
        ModelError: the task has no latents.
    """
    keys = jr.split(key)
    scale, rows = simulated_scales(task, keys[0])
    sites = tuple(task.latents.unconstrained[n] for n in task.latents.names)
    shape = Shape(
        sites,
        2 * rows.size,
        options.posterior,
        options.signals,
        options.closed_form,
        options.history,
        options.most,
        (task.rows or (1, 1))[1],
    )
    update = LearnedUpdate(shape, keys[1], options.width, options.layers, options.heads)
    queries = HELD_OUT if options.objective == "predictive" else 0
    return IterativeGuide(
        task=task, options=options, scale=scale, rows=rows, update=update, queries=queries
    )
