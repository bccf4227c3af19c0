"""Gaussian approximations without learning: the last posterior is the next mini-batch's prior.

Broderick et al. 2013, "Streaming variational Bayes", arXiv 1307.6769.
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
from amortppl.gaussian.frame import Frame
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

    def init(self) -> Start:
        """The prior."""
        return Start()

    def step(self, state: Start | Filtered, batch: Batch) -> Filtered:
        """The Gaussian of the last posterior times a mini-batch's likelihood."""
        begun, scale = isinstance(state, Filtered), stop_gradient(self.scale)
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

    def readout(self, state: Start | Filtered) -> Posterior:
        """The Gaussian, as a posterior over the unconstrained latents."""
        density = Gaussian(self.task.latents.size)
        return Posterior(
            stop_gradient(self.scale),
            self._last(state).frame,
            density,
            density.initial(),
            Funnel.none(),
        )

    def score(self, state: Start | Filtered, target: Target) -> Array:
        """-log q(theta | D) in nats."""
        return -self.readout(state).log_prob(target.latents)

    def _last(self, state: Start | Filtered) -> Filtered:
        if isinstance(state, Filtered):
            return state
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
