"""Learned features of rows: what heads that adapt in closed form, or by class, stand on."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.networks.mlp import mlp
from amortppl.networks.windows import SIDE, Windows
from amortppl.predictive.preprocessing import Reader


class RowFeatures(eqx.Module):
    """A perceptron of two hidden layers on the inputs of a row."""

    net: eqx.nn.MLP
    size: int = eqx.field(static=True)

    def __call__(self, reader: Reader, data: dict[str, Array]) -> Float[Array, "N E"]:
        """Rows -> their features."""
        return jax.vmap(self.net)(reader.x(data))


class ImageFeatures(eqx.Module):
    """Local features of an image."""

    windows: Windows

    @property
    def size(self) -> int:
        """Numbers in the features of a row."""
        return self.windows.size

    def __call__(self, reader: Reader, data: dict[str, Array]) -> Float[Array, "N E"]:
        """Rows -> their features."""
        return jax.vmap(self.windows)(reader.alike(data))


def features(
    reader: Reader,
    size: int,
    hidden: int,
    image: tuple[int, int] | None,
    key: PRNGKeyArray,
    length: float | None = None,
) -> RowFeatures | ImageFeatures:
    """Features of a row: `size` numbers; of an image of height and width `image`, `size` maps of
    its windows.

    The features of an image have the length `length` to begin with.

    Raises:
        ModelError: the inputs are not as many numbers as the image has pixels, or it is smaller
            than a window.
    """
    if image is None:
        return RowFeatures(mlp(reader.x_size, size, hidden, 2, key), size)
    count = reader.x_centre.shape[0]
    if image[0] * image[1] != count or min(image) <= SIDE:
        raise ModelError(
            f"image: expected (height, width) of the input, each above {SIDE} and {count} pixels "
            f"in all, got {image}"
        )
    return ImageFeatures(Windows(image, size, key, length))
