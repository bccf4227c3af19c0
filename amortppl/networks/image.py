"""An encoder of images: convolutions and means over places."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.networks.mlp import mlp


class ConvolutionalImage(eqx.Module):
    """Two convolutions, each followed by a halving of height and width, then a perceptron.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition".

    >>> encode = ConvolutionalImage((12, 10), 8, jr.key(0))
    >>> encode(jnp.ones((12, 10))).shape
    (8,)

    Args:
        shape: (height, width) or (height, width, channels).
        size: numbers in the encoded image.
        key: draws the weights.
    """

    layers: list[eqx.nn.Conv2d]
    after: eqx.nn.MLP
    size: int = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], size: int, key: PRNGKeyArray) -> None:
        keys = jr.split(key, 3)
        channels, self.size = (shape[2] if len(shape) == 3 else 1), size
        self.layers = [
            eqx.nn.Conv2d(channels, 16, 3, padding=1, key=keys[0]),
            eqx.nn.Conv2d(16, 32, 3, padding=1, key=keys[1]),
        ]
        places = max(shape[0] // 4, 1) * max(shape[1] // 4, 1)
        self.after = mlp(32 * places, size, 2 * size, 1, keys[2])

    def __call__(self, image: Float[Array, "*HWC"]) -> Float[Array, " E"]:
        """One image (height, width) or (height, width, channels) -> numbers (E,)."""
        hidden = jnp.moveaxis(image if image.ndim == 3 else image[..., None], -1, 0)
        for layer in self.layers:
            hidden = _halved(jax.nn.gelu(layer(hidden)))
        return self.after(hidden.reshape(-1))


def _halved(image: Float[Array, "C H W"]) -> Float[Array, "C H2 W2"]:
    """Means of squares of two by two; of a side of one pixel nothing is left out."""
    channels, height, width = image.shape
    if height < 2 or width < 2:
        return image
    cut = image[:, : height - height % 2, : width - width % 2]
    return cut.reshape(channels, height // 2, 2, width // 2, 2).mean((2, 4))
