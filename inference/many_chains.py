"""Many short chains of NUTS on the model's own density, for posteriors of several modes.

    p(theta | D),  proportional to  p(theta) p(D | theta)

Nothing is trained. Adaptive importance sampling finds where the mass is, and starts the chains in
all modes by their shares (`amortppl.densities.unnormalized`). Cappé, Guillin, Marin and Robert
2004, "Population Monte Carlo"; Hoffman and Gelman 2014, "The No-U-Turn sampler", arXiv 1111.4246.
For up to about ten latents: in many more the proposals do not reach the mass.

The density of a draw is the joint density over an estimate of Z, so that all draws weigh the same.
k-hat is that of the importance weights which the chains' starts are resampled by: where it is low,
the starts are draws from the posterior already.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities.unnormalized import Unnormalized
from amortppl.errors import ModelError
from amortppl.method import Target
from amortppl.predictive.kept_rows import Kept, KeptRows
from amortppl.predictive.scaled_posterior import ScaledPosterior
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale, simulated_scales


class ManyChainsGuide(KeptRows):
    """The built method. See `ManyChains` for its options."""

    task: AbstractTask = eqx.field(static=True)
    scale: PriorScale
    options: "ManyChains" = eqx.field(static=True)
    regime: ClassVar[str] = "parametric"
    quick: ClassVar[bool] = False

    def readout(self, state: Kept) -> ScaledPosterior:
        """The posterior, up to a constant. NaN where rows came that there was no place for."""
        options, size = self.options, self.task.latents.size
        height = eqx.Partial(self._height, state)
        search = options.points, options.chains, options.warmup
        return ScaledPosterior(stop_gradient(self.scale), Unnormalized(height, size, *search))

    def log_weights(self, state: Kept) -> Array:
        """Of the last stage of importance sampling, (`points`,)."""
        return self.readout(state).standard.start_weights()

    def score(self, state: Kept, target: Target) -> Array:
        """-log p(theta | D); nothing is trained by it."""
        return -self.readout(state).log_prob(target.latents)

    def _height(self, state: Kept, standard: Float[Array, " P"]) -> Array:
        """The log joint density."""
        latents = stop_gradient(self.scale).restore(standard)
        joint = self.task.log_joint(latents, Batch(state.data, state.mask))
        return jnp.where(state.whole, joint, jnp.nan)


@dataclass(frozen=True)
class ManyChains:
    """Options of many short chains of NUTS.

    Attributes:
        points: of the last stage of importance sampling.
        chains: at most, one draw or more of each.
        warmup: steps of each chain before its first draw.
    """

    points: int = 65_536
    chains: int = 256
    warmup: int = 200

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Nothing is trained."""
        return {"steps": 0}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> ManyChainsGuide:
        """Prior units for a task.

        Raises:
            ModelError: no density to draw from.
        """
        if not task.has_density:
            raise ModelError(
                f"{task.name}: 'many_chains' draws from the model's own density, and this task has "
                "none; train 'neural_likelihood' or 'neural_ratio', which learn one"
            )
        return ManyChainsGuide(task, simulated_scales(task, key)[0], self)


METHOD = ManyChains
