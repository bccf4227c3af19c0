"""Local features of images: the same map of every 3 x 3 window, the strongest of neighbouring
windows kept.

A layer of a convolutional network (LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning
applied to document recognition", Proceedings of the IEEE 86(11)), written as a product with the
windows, which a CPU computes fastest.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

SIDE, POOLED = 3, 2

FAINT = 1e-6
"""Added to the squared length of what is divided by it: an even image has no direction."""


class Windows(eqx.Module):
    """Images of height x width -> the strongest response of every map in each place, as a vector of
    learned length.

    All images have the same length, so that products compare directions (Gidaris and Komodakis
    2018, "Dynamic few-shot visual learning without forgetting", arXiv 1804.09458, section 3.2) and
    bold strokes are no class. Nothing comes after: a layer on all places together learns the
    classes trained on, and serves others worse than the pixels do. Maps begin without a response to
    even grey.

    Attributes:
        log_length: of the features, log sqrt(sum_e phi_e^2).
    """

    shape: tuple[int, int] = eqx.field(static=True)
    maps: Float[Array, "9 C"]
    bias: Float[Array, " C"]
    log_scale: Float[Array, " C"]
    log_length: Float[Array, ""]

    def __init__(
        self, shape: tuple[int, int], channels: int, key: PRNGKeyArray, length: float | None = None
    ) -> None:
        """Draws the maps; the features' length is `length` to begin with, or the square root of how
        many there are.
        """
        self.shape = shape
        maps = jr.normal(key, (SIDE**2, channels)) / SIDE
        self.maps, self.bias, self.log_scale = (
            maps - jnp.mean(maps, 0),
            jnp.zeros(channels),
            jnp.zeros(channels),
        )
        self.log_length = 0.5 * jnp.log(self.size) if length is None else jnp.log(length)

    @property
    def size(self) -> int:
        """Numbers in the features."""
        high, wide = self._places_kept()
        return high * wide * self.bias.shape[0]

    def __call__(self, image: Float[Array, " P"]) -> Float[Array, " E"]:
        """One image, its pixels row by row."""
        high, wide = self._places_kept()
        found = jax.nn.relu(image[self._places()] @ self.maps + self.bias)
        found = found[: high * POOLED, : wide * POOLED].reshape(high, POOLED, wide, POOLED, -1)
        found = (jnp.exp(self.log_scale) * jnp.max(found, (1, 3))).ravel()
        return found * jnp.exp(self.log_length) * jax.lax.rsqrt(jnp.sum(found**2) + FAINT)

    def _places_kept(self) -> tuple[int, int]:
        high, wide = ((n - SIDE + 1) // POOLED for n in self.shape)
        return high, wide

    def _places(self) -> np.ndarray:
        """Which pixels are in each window, (rows of windows, columns of windows, SIDE^2)."""
        pixels = np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)
        found = np.lib.stride_tricks.sliding_window_view(pixels, (SIDE, SIDE))
        return found.reshape(*found.shape[:2], SIDE**2)
