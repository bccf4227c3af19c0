"""Learned features of rows: what heads that adapt in closed form, or by class, stand on."""

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.networks.mlp import mlp
from amortppl.networks.windows import SIDE, Windows
from amortppl.predictive.reader import Reader

CHANNELS = 16
"""Maps of each window."""


class RowFeatures(eqx.Module):
    """A perceptron of two hidden layers on the inputs of a row."""

    net: eqx.nn.MLP
    size: int = eqx.field(static=True)

    def __call__(self, reader: Reader, data: dict[str, Array]) -> Float[Array, "N E"]:
        """Rows -> their features."""
        return jax.vmap(self.net)(reader.x(data))


class ImageFeatures(eqx.Module):
    """A linear map of an image's pixels plus what its windows add."""

    straight: eqx.nn.Linear
    windows: Windows
    size: int = eqx.field(static=True)

    def __call__(self, reader: Reader, data: dict[str, Array]) -> Float[Array, "N E"]:
        """Rows -> their features."""
        pixels = reader.alike(data)
        return jax.vmap(self.straight)(pixels) + jax.vmap(self.windows)(pixels)


def features(
    reader: Reader, size: int, hidden: int, image: tuple[int, int] | None, key: PRNGKeyArray
) -> RowFeatures | ImageFeatures:
    """Features of a row; with `image` its inputs are an image of that height and width.

    Raises:
        ModelError: the inputs are not as many numbers as the image has pixels, or it is smaller than a window.
    """
    if image is None:
        return RowFeatures(mlp(reader.x_size, size, hidden, 2, key), size)
    count = reader.x_centre.shape[0]
    if image[0] * image[1] != count or min(image) <= SIDE:
        raise ModelError(
            f"image: expected (height, width) of the input, each above {SIDE} and {count} pixels in all, got {image}"
        )
    first, second = jr.split(key)
    return ImageFeatures(eqx.nn.Linear(count, size, key=first), Windows(image, CHANNELS, size, hidden, second), size)
