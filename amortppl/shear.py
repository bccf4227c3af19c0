"""Coordinates in which the curved valley of a hierarchical posterior is straight.

What lies in plates, d, follows the other latents, g, along a curve: d = (effect - location) / scale does as the scale
varies. With few data the curve is slight beside the posterior's width; with many it is what a Gaussian misses most.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Shear(eqx.Module):
    """u -> v and back, of unit Jacobian: u_g = v_g and u_d = v_d + 1/2 K[g - c, g - c].

    Attributes:
        centre: c.
        second: K, how the mode of d given g bends.
        plated: which latents are d; empty where all or none are, and then u = v.
    """

    centre: Float[Array, " G"]
    second: Float[Array, "L G G"]
    plated: tuple[bool, ...] = eqx.field(static=True, default=())

    @classmethod
    def none(cls, plated: tuple[bool, ...] = ()) -> "Shear":
        """u = v."""
        inner, outer = sum(plated), len(plated) - sum(plated)
        return cls(jnp.zeros(outer), jnp.zeros((inner, outer, outer)), plated)

    def bent(self, straight: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """v -> u."""
        return straight + self._of(straight)

    def straight(self, bent: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        """u -> v."""
        return bent - self._of(bent)

    def slope(self, at: Float[Array, " P"]) -> Float[Array, "P P"]:
        """du / dv."""
        inner, outer = self._places
        return jnp.eye(len(at)).at[np.ix_(inner, outer)].set(self.second @ (at[outer] - self.centre))

    def slope_back(self, at: Float[Array, " P"]) -> Float[Array, "P P"]:
        """dv / du."""
        return 2.0 * jnp.eye(len(at)) - self.slope(at)

    @property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return np.flatnonzero(self.plated), np.flatnonzero(~np.array(self.plated, bool))

    def _of(self, at: Float[Array, "*S P"]) -> Float[Array, "*S P"]:
        if not self.plated:
            return jnp.zeros_like(at)
        inner, outer = self._places
        away = at[..., outer] - self.centre
        return jnp.zeros_like(at).at[..., inner].set(0.5 * jnp.einsum("lgh,...g,...h->...l", self.second, away, away))
