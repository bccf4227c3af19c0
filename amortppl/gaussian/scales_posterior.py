"""Draws of scales h, and of all other latents u given them, as of crossed and nested effects.

    q(h, u) = q(h) N(u; u(h), (-Hessian in u)^-1),    u(h) the mode of p(u, h, D) in u

exact in u where u is Gaussian given h: then weights p / q are those of h alone, whatever the number
of effects. No matrix of all latents is made. q(h) is a Gaussian, or where places of h are cheap a
mixture that follows their marginal (`amortppl.gaussian.scale_mixture`).
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jax.lax import stop_gradient
from jaxtyping import Array, Float, Int, PRNGKeyArray

from amortppl.gaussian.arrow import Arrow
from amortppl.gaussian.cholesky_precision import CholeskyPrecision
from amortppl.gaussian.plates import join_plates, split_plates
from amortppl.gaussian.scale_mixture import ScaleMixture, explore
from amortppl.gaussian.scales_first import STEPS, Effects, Scales
from amortppl.runtime.batched_map import batched_map
from amortppl.task.batch import Batch

LOG_TWO_PI = 1.8378770664093453

CHEAP = 128
"""Places of h that are taken together (`Effects.at_once`) from which on their marginal is followed:
a thousand places beside those of the search and of the draws."""


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
        mixture: of h; None for a Gaussian.
    """

    effects: Effects
    scales: Scales
    mixture: ScaleMixture | None

    @classmethod
    def of(cls, effects: Effects, scales: Scales) -> "ScalesPosterior":
        """The posterior by what was found, with a mixture where that is cheap."""
        if effects.at_once < CHEAP:
            return cls(effects, scales, None)

        def height(h: Array) -> Array:
            mode, precision = _given(effects, scales, h)
            return effects.joint(h, mode) - 0.5 * precision.log_det()

        mixture = explore(height, scales.frame, effects.at_once)
        return cls(effects, scales, stop_gradient(mixture))

    def log_prob(self, vector: Float[Array, " P"]) -> Array:
        """Log density of one unconstrained vector."""
        units = self.effects.log.scale
        h, u = split_plates(units.standardize(vector), self.effects.real)
        mode, precision = _given(self.effects, self.scales, h)
        of_u = 0.5 * (precision.log_det() - precision.squared(u - mode))
        return of_u + self._log_scales(h) + self._constant(len(u))

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Independent draws (S, P) and their log densities (S,)."""
        units, side = self.effects.log.scale, len(self.scales.frame.location)
        normal = jr.normal(key, (draws, len(self.effects.real)))
        if self.mixture is None:
            h = self.scales.frame.unwhiten(normal[:, :side])
            log_h = self._log_scales(h)
        else:
            h, log_h = self.mixture.sample(jr.fold_in(key, 1), draws)

        def draw(pair: tuple[Array, Array]) -> tuple[Array, Array]:
            h, noise = pair
            mode, precision = _given(self.effects, self.scales, h)
            u = mode + precision.spread(noise)
            log_u = 0.5 * (precision.log_det() - jnp.sum(noise**2))
            return units.restore(join_plates(h, u, self.effects.real)), log_u

        vectors, log_u = batched_map(draw, (h, normal[:, side:]), self.effects.at_once)
        return vectors, log_u + log_h + self._constant(normal.shape[1] - side)

    def _log_scales(self, h: Float[Array, "*S H"]) -> Float[Array, "*S"]:
        """Log density of h, in prior units."""
        if self.mixture is not None:
            return self.mixture.log_prob(h)
        frame = self.scales.frame
        z = (h - frame.location) @ frame.factor
        return frame.log_scale() - 0.5 * (jnp.sum(z**2, -1) + LOG_TWO_PI * h.shape[-1])

    def _constant(self, effects: int) -> Array:
        return -jnp.sum(jnp.log(self.effects.log.scale.scale)) - 0.5 * LOG_TWO_PI * effects


def _given(effects: Effects, scales: Scales, h: Array) -> tuple[Array, Arrow | CholeskyPrecision]:
    """The mode of u given h, and -Hessian there."""
    near = scales.mode + scales.frame.whiten(h) @ scales.gradient
    return effects.mode(h, near, STEPS)
