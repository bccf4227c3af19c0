"""Local features of images: the same map of every 3 x 3 window, the strongest of neighbouring windows kept.

A layer of a convolutional network (LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11)), written as a product with the windows, which a CPU computes fastest.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

SIDE, POOLED = 3, 2


class Windows(eqx.Module):
    """Images of height x width -> the strongest response of every map in each place.

    Nothing comes after: a layer on all places together learns the classes trained on, and serves others worse than
    the pixels do. Maps begin without a response to even grey.
    """

    shape: tuple[int, int] = eqx.field(static=True)
    maps: Float[Array, "9 C"]
    bias: Float[Array, " C"]
    log_scale: Float[Array, " C"]

    def __init__(self, shape: tuple[int, int], channels: int, key: PRNGKeyArray) -> None:
        self.shape = shape
        maps = jr.normal(key, (SIDE**2, channels)) / SIDE
        self.maps, self.bias, self.log_scale = maps - jnp.mean(maps, 0), jnp.zeros(channels), jnp.zeros(channels)

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
        return (jnp.exp(self.log_scale) * jnp.max(found, (1, 3))).ravel()

    def _places_kept(self) -> tuple[int, int]:
        high, wide = ((n - SIDE + 1) // POOLED for n in self.shape)
        return high, wide

    def _places(self) -> np.ndarray:
        """Which pixels are in each window, (rows of windows, columns of windows, SIDE^2)."""
        pixels = np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)
        found = np.lib.stride_tricks.sliding_window_view(pixels, (SIDE, SIDE))
        return found.reshape(*found.shape[:2], SIDE**2)
