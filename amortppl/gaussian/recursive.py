"""Gaussian approximations without learning: the last posterior is the next mini-batch's prior.

A mini-batch is expanded where the posterior of its time is, and what the expansions miss adds up. A
further pass expands all rows where the last pass ended, which is one Newton step on all of them:
some passes end where a step on the whole dataset does. Broderick et al. 2013, "Streaming
variational Bayes", arXiv 1307.6769.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.gaussian import Gaussian
from amortppl.errors import ModelError
from amortppl.gaussian.accumulator import EvidenceSum, seen_from
from amortppl.gaussian.cubature import averages, whitened_gradients
from amortppl.gaussian.filtering import apply_site
from amortppl.gaussian.frame import Frame, LogDensity
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.posterior import Posterior
from amortppl.gaussian.state import Start
from amortppl.method import Method, Target
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale, simulated_scales


class Filtered(NamedTuple):
    """The posterior so far, in prior units, and how many rows it has seen."""

    frame: Frame
    rows: Float[Array, ""]


class Passed(NamedTuple):
    """The posterior in the middle or at the end of a further pass.

    Attributes:
        frame, rows: as of `Filtered`.
        moved: how far the pass moved the location, in posterior sds (root mean square).
    """

    frame: Frame
    rows: Float[Array, ""]
    moved: Float[Array, ""]


class Again(NamedTuple):
    """The state of a further pass under way.

    Attributes:
        base: the state after the last pass.
        since: the state before the rows of this pass.
        evidence: of the rows met again, expanded at the base.
    """

    base: Filtered
    since: Start | Filtered
    evidence: EvidenceSum


class RecursiveGuide(Method):
    """A Gaussian fitted to (last posterior) x (likelihood of a mini-batch). Nothing is trained."""

    task: AbstractTask = eqx.field(static=True)
    options: Any = eqx.field(static=True)
    scale: PriorScale
    regime: ClassVar[str] = "parametric"
    opening: ClassVar[int] = 128

    @abstractmethod
    def fit(self, joint: Callable[[Array], Array], start: Frame) -> Frame:
        """A Gaussian for a log density in prior units."""

    def expand(self, f: LogDensity, frame: Frame) -> tuple[Array, Array]:
        """Whitened gradient and curvature of a log density in a frame: averages over it, as the
        Gaussian that a variational `fit` looks for has them.
        """
        return averages(whitened_gradients(f, frame, 1e6))

    def init(self) -> Start:
        """The prior."""
        return Start()

    def step(self, state: Start | Filtered | Again, batch: Batch) -> Filtered | Again:
        """The Gaussian of the last posterior times a mini-batch's likelihood."""
        begun, scale = isinstance(state, Filtered), stop_gradient(self.scale)
        if isinstance(state, Again):
            likelihood = lambda at: self.task.log_likelihood(scale.restore(at), batch)  # noqa: E731
            site = stop_gradient(self.expand(likelihood, state.base.frame))
            evidence = state.evidence.plus(*site, jnp.sum(batch.mask))
            return state._replace(evidence=evidence)
        last = self._last(state)

        def joint(at: Float[Array, " P"]) -> Array:
            vector = scale.restore(at)
            if begun:
                return self.task.log_likelihood(vector, batch) - 0.5 * jnp.sum(
                    last.frame.whiten(at) ** 2
                )
            return self.task.log_joint(vector, batch)

        after = Filtered(
            stop_gradient(self.fit(joint, last.frame)), last.rows + jnp.sum(batch.mask)
        )
        return jax.tree.map(
            lambda a, b: jnp.where(jnp.any(batch.mask) | ~jnp.array(begun), a, b), after, last
        )

    def start_pass(self, state: Filtered | Again, since: Start | Filtered | Again) -> Again:
        """A state that will meet again the rows it has seen after `since`."""
        begin = since if isinstance(since, Start) else self._last(since)
        return Again(self._last(state), begin, EvidenceSum.none(self.task.latents.size))

    def finalize(self, state: Start | Filtered | Again) -> Start | Filtered | Passed:
        """The state with a pass under way finished: one Newton step on its rows."""
        return self._revised(state) if isinstance(state, Again) else state

    def readout(self, state: Start | Filtered | Again) -> Posterior:
        """The Gaussian, as a posterior over the unconstrained latents."""
        density = Gaussian(self.task.latents.size)
        return Posterior(
            stop_gradient(self.scale),
            self._last(state).frame,
            density,
            density.initial(),
            Funnel.none(),
        )

    def score(self, state: Start | Filtered | Again, target: Target) -> Array:
        """-log q(theta | D) in nats."""
        return -self.readout(state).log_prob(target.latents)

    def _revised(self, state: Again) -> Passed:
        """What was met again takes the place of its share of the old evidence."""
        base, since, evidence = state
        before = jnp.zeros(()) if isinstance(since, Start) else since.rows
        share = jnp.clip(evidence.rows / jnp.maximum(base.rows - before, 1.0), 0.0, 1.0)
        if isinstance(since, Start):
            scale = stop_gradient(self.scale)
            kept = self.expand(lambda at: self.task.log_prior(scale.restore(at)), base.frame)
        else:
            kept = seen_from(base.frame, since.frame)
        shift, factor = evidence.blend(kept, share)
        frame, _ = apply_site(base.frame, jnp.zeros(len(shift)), shift, factor)
        return Passed(frame, base.rows, jnp.sqrt(jnp.mean((factor.T @ shift) ** 2)))

    def _last(self, state: Start | Filtered | Again) -> Filtered:
        if isinstance(state, Filtered):
            return state
        if isinstance(state, Again):
            return Filtered(*self._revised(state)[:2])
        size = self.task.latents.size
        return Filtered(Frame(jnp.zeros(size), jnp.eye(size)), jnp.zeros(()))


def prior_scale(task: AbstractTask, key: PRNGKeyArray, name: str) -> PriorScale:
    """Prior units of a task that has a likelihood and latents.

    Raises:
        ModelError: it has no latents, or no likelihood.
    """
    scale = simulated_scales(task, key)[0]
    if not task.likelihood:
        raise ModelError(
            f"{name}: it follows the likelihood's gradient, which {task.name} does not offer; "
            "'parametric' or 'in_context' learn from simulated data alone"
        )
    return scale
