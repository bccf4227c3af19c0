"""The guide of crossed and nested groups: scales first, then all other latents given them.

Scales, few whatever the number of groups, are placed by their marginal and drawn from a mixture
that follows it; all other latents come from the rows and the scales
(`amortppl.gaussian.scales_posterior`). Nothing is learned, so one guide serves any number of
groups, and importance weights do not depend on it where effects are Gaussian given the scales.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from amortppl.errors import GuideError
from amortppl.gaussian.class_detection import SCALES, classes_of, real_latents
from amortppl.gaussian.log_density import Densities
from amortppl.gaussian.scales_first import Effects, scales_first
from amortppl.gaussian.scales_posterior import ScalesPosterior, ScalesState
from amortppl.gaussian.state import Start
from amortppl.gaussian.summary import log_rows
from amortppl.gaussian.touched import Classes
from amortppl.method import Method, Target
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale

DENSE = 80
"""Most real latents given scales by a dense Hessian: it takes a product for each of them."""


class ConditionalGuide(Method):
    """The built method.

    Attributes:
        options: of `inference.parametric.Parametric`.
        real: which latents are drawn given the others.
        classes: which of these a row depends on; None to take all together.
    """

    task: AbstractTask = eqx.field(static=True)
    options: Any = eqx.field(static=True)
    scale: PriorScale
    gammas: bool = eqx.field(static=True)
    real: tuple[bool, ...] = eqx.field(static=True)
    classes: Classes | None = eqx.field(static=True)
    regime: ClassVar[str] = "parametric"
    revision: ClassVar[int] = 7
    quick: ClassVar[bool] = False

    def init(self) -> Start:
        """The prior, no evidence."""
        return Start()

    def step(self, state: Start | ScalesState, batch: Batch) -> ScalesState:
        """The state of all rows.

        Raises:
            GuideError: for a second mini-batch.
        """
        if not isinstance(state, Start):
            raise GuideError(
                "effects of several groupings are drawn from all rows of a dataset at once; for "
                "mini-batches train ap.method('parametric', density='diagonal')"
            )
        effects, start = self._effects(batch), jnp.zeros(len(self.real))
        effects = Effects.find(effects.log, self.real, self.classes, batch, start)
        return ScalesState(batch, effects.rows, stop_gradient(scales_first(effects, start)))

    def readout(self, state: Start | ScalesState) -> ScalesPosterior:
        """The posterior: a mixture of scales, all else given them."""
        state = self._finite(state)
        effects = self._effects(state.batch)
        effects = eqx.tree_at(lambda e: e.rows, effects, state.rows)
        return ScalesPosterior.of(effects, state.scales)

    def summary(self, state: Start | ScalesState) -> Float[Array, " F"]:
        """The Gaussian of the scales, and the number of rows."""
        state = self._finite(state)
        frame, most = state.scales.frame, float((self.task.rows or (1, 1))[1])
        factor = frame.factor[np.tril_indices(len(frame.location))]
        rows = log_rows(jnp.sum(state.batch.mask), most)[None]
        return jnp.concatenate([jnp.clip(frame.location, -10, 10), jnp.arcsinh(factor), rows])

    def score(self, state: Start | ScalesState, target: Target) -> Array:
        """-log q(theta | D) in nats."""
        return -self.readout(state).log_prob(target.latents)

    def _finite(self, state: Start | ScalesState) -> ScalesState:
        """The state; that of no rows where there are none."""
        return state if isinstance(state, ScalesState) else self.step(state, self._blank)

    @property
    def _blank(self) -> Batch:
        """No rows."""
        most, like = (self.task.rows or (1, 1))[1], self.task.rows_like
        blank = {n: jnp.zeros((most, *s.shape[1:]), s.dtype) for n, s in like.items()}
        return Batch(blank, jnp.zeros(most, bool))

    def _effects(self, batch: Batch) -> Effects:
        log = Densities(self.task, jax.tree.map(stop_gradient, self.scale), self.gammas)
        return Effects(log, self.real, self.classes, batch, jnp.zeros((0, 0), int))


def conditional_classes(task: AbstractTask) -> tuple[bool, Classes | None]:
    """Whether all real latents of a task are drawn given the others, and which a row depends on.

    Of several groupings, where there are few bounded latents, and rows depend on few of the others
    or these are few.
    """
    if not task.several or task.block or task.local:
        return False, None
    real = real_latents(task)
    if not real.any() or not 0 < int((~real).sum()) <= SCALES:
        return False, None
    classes = classes_of(task)
    return classes is not None or int(real.sum()) <= DENSE, classes
