"""The posterior that a Gaussian frame and a density in it make."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.densities import Density
from amortppl.gaussian.frame import Frame
from amortppl.gaussian.funnel import Funnel
from amortppl.task.scaling import PriorScale

FAR = 1e3
"""Whitened draws further out are set there. Where a frame is nowhere near its posterior, a flow
whose coefficients were
never seen overflows; of such draws the model's own density leaves nothing, and k-hat says so."""


class Posterior(eqx.Module):
    """A distribution over the latents' unconstrained vector."""

    scale: PriorScale
    frame: Frame
    density: Density
    coefficients: Float[Array, " K"]
    funnel: Funnel

    def log_prob(self, vector: Float[Array, " P"]) -> Array:
        """Log density of one unconstrained vector."""
        straight = self.funnel.inverse(self.scale.standardize(vector))
        return self.density.log_prob(
            self.frame.whiten(straight), self.coefficients
        ) + self._log_scale(straight)

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Independent draws (S, P) and their log densities (S,)."""
        z, log_prob = self.density.sample(key, self.coefficients, draws)
        straight = self.frame.unwhiten(jnp.clip(z, -FAR, FAR))
        return self.scale.restore(self.funnel.forward(straight)), log_prob + self._log_scale(
            straight
        )

    def _log_scale(self, straight: Float[Array, "*S P"]) -> Float[Array, "*S"]:
        return (
            self.frame.log_scale()
            - jnp.sum(jnp.log(self.scale.scale))
            - self.funnel.log_det(straight)
        )
