"""Local features of images: one convolutional layer of 3 x 3 windows, then max-pooling.

LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11). Written as a product with the windows, which a CPU computes fastest.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

SIDE, POOLED = 3, 2
"""Pixels along a window's side, and windows along the side of a pooled square."""

FAINT = 1e-6
"""Added to a squared length before division: an even image has length zero."""


class Windows(eqx.Module):
    """Images of height x width -> the strongest response of every map in each place.

    The features of all images have the same learned length, so that products compare directions
    (Gidaris and Komodakis 2018, "Dynamic few-shot visual learning without forgetting", arXiv
    1804.09458, section 3.2) and bold strokes are no class. No layer follows: one on all places
    together learns the classes trained on, and serves others worse than the pixels do. Maps begin
    without a response to even grey.

    >>> import jax, jax.numpy as jnp
    >>> net = Windows((8, 7), 3, jax.random.key(0))
    >>> net(jnp.ones(56)).shape
    (18,)

    Attributes:
        shape: height and width.
        maps, bias: linear maps of a window's pixels.
        log_scale: of each map's responses.
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
        """Draws the maps.

        Args:
            shape: height and width.
            channels: how many maps.
            key: draws them.
            length: of the features to begin with; None for the square root of their number.
        """
        self.shape = shape
        maps = jr.normal(key, (SIDE**2, channels)) / SIDE
        self.maps, self.bias = maps - jnp.mean(maps, 0), jnp.zeros(channels)
        self.log_scale = jnp.zeros(channels)
        self.log_length = 0.5 * jnp.log(self.size) if length is None else jnp.log(length)

    @property
    def size(self) -> int:
        """Numbers in the features."""
        high, wide = self._pooled_shape()
        return high * wide * self.bias.shape[0]

    def __call__(self, image: Float[Array, " P"]) -> Float[Array, " E"]:
        """Features of one image, its pixels row by row."""
        high, wide = self._pooled_shape()
        maps = jax.nn.relu(image[self._pixels()] @ self.maps + self.bias)
        squares = maps[: high * POOLED, : wide * POOLED].reshape(high, POOLED, wide, POOLED, -1)
        features = (jnp.exp(self.log_scale) * jnp.max(squares, (1, 3))).ravel()
        return features * jnp.exp(self.log_length) * jax.lax.rsqrt(jnp.sum(features**2) + FAINT)

    def _pooled_shape(self) -> tuple[int, int]:
        """Pooled squares along the height and along the width."""
        high, wide = ((n - SIDE + 1) // POOLED for n in self.shape)
        return high, wide

    def _pixels(self) -> np.ndarray:
        """Indices of each window's pixels, (rows of windows, columns of windows, SIDE^2)."""
        pixels = np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (SIDE, SIDE))
        return windows.reshape(*windows.shape[:2], SIDE**2)
