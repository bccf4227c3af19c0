"""Draws of scales h from a Gaussian, and of all other latents u given them, as of crossed effects.

    q(h, u) = N(h; m, S) N(u; u(h), (-Hessian in u)^-1),    u(h) the mode of p(u, h, D) in u

exact in u where u is Gaussian given h: then weights p / q are those of h alone, whatever the number
of effects. No matrix of all latents is made.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from amortppl.gaussian.arrow import Arrow
from amortppl.gaussian.plates import join_plates, split_plates
from amortppl.gaussian.scales_first import STEPS, Effects, Scales
from amortppl.runtime.batched_map import batched_map
from amortppl.task.batch import Batch

LOG_TWO_PI = 1.8378770664093453


class ScalesState(NamedTuple):
    """The rows of a dataset, the latents that they depend on, and its scales."""

    batch: Batch
    rows: Int[Array, "K N"]
    scales: Scales


class ScalesPosterior(eqx.Module):
    """A distribution over the latents' unconstrained vector.

    Attributes:
        effects: the latents and rows.
        scales: what `scales_first` found.
    """

    effects: Effects
    scales: Scales

    def log_prob(self, vector: Float[Array, " P"]) -> Array:
        """Log density of one unconstrained vector."""
        units = self.effects.log.scale
        h, u = split_plates(units.standardize(vector), self.effects.real)
        z = self.scales.frame.whiten(h)
        mode, precision = self._given(h, z)
        of_u = 0.5 * (precision.log_det() - precision.squared(u - mode))
        return of_u - 0.5 * jnp.sum(z**2) + self._constant(vector)

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Independent draws (S, P) and their log densities (S,)."""
        units, side = self.effects.log.scale, len(self.scales.frame.location)

        def draw(z: Array) -> tuple[Array, Array]:
            h = self.scales.frame.unwhiten(z[:side])
            mode, precision = self._given(h, z[:side])
            u = mode + precision.spread(z[side:])
            vector = units.restore(join_plates(h, u, self.effects.real))
            return vector, 0.5 * (precision.log_det() - jnp.sum(z**2)) + self._constant(vector)

        z = jr.normal(key, (draws, len(self.effects.real)))
        return batched_map(draw, z, self.effects.at_once)

    def _given(self, h: Array, z: Array) -> tuple[Array, Arrow]:
        """The mode of u given h, whitened z, and -Hessian there."""
        return self.effects.mode(h, self.scales.mode + z @ self.scales.gradient, STEPS)

    def _constant(self, vector: Array) -> Array:
        units = jnp.sum(jnp.log(self.effects.log.scale.scale))
        return self.scales.frame.log_scale() - units - 0.5 * LOG_TWO_PI * vector.shape[-1]
