"""Local features of images: the same map of every 3 x 3 window, the strongest of neighbouring windows kept.

A small convolutional network (LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document
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
    """Images of height x width -> features: windows, then a perceptron of one hidden layer."""

    shape: tuple[int, int] = eqx.field(static=True)
    window: eqx.nn.Linear
    after: eqx.nn.MLP

    def __init__(self, shape: tuple[int, int], channels: int, size: int, hidden: int, key: PRNGKeyArray) -> None:
        first, second = jr.split(key)
        self.shape = shape
        self.window = eqx.nn.Linear(SIDE**2, channels, key=first)
        high, wide = ((n - SIDE + 1) // POOLED for n in shape)
        self.after = eqx.nn.MLP(channels * high * wide, size, hidden, 1, activation=jax.nn.gelu, key=second)

    def __call__(self, image: Float[Array, " P"]) -> Float[Array, " E"]:
        """One image, its pixels row by row."""
        high, wide = ((n - SIDE + 1) // POOLED for n in self.shape)
        found = jax.nn.relu(jax.vmap(jax.vmap(self.window))(image[self._places()]))
        found = found[: high * POOLED, : wide * POOLED].reshape(high, POOLED, wide, POOLED, -1)
        return self.after(jnp.max(found, (1, 3)).ravel())

    def _places(self) -> np.ndarray:
        """Which pixels are in each window, (rows of windows, columns of windows, SIDE^2)."""
        pixels = np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)
        found = np.lib.stride_tricks.sliding_window_view(pixels, (SIDE, SIDE))
        return found.reshape(*found.shape[:2], SIDE**2)
