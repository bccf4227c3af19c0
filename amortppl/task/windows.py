"""A series cut into overlapping windows that a model runs through side by side."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NEW = 16
"""Rows that a window adds, at least."""

RowDensities = Callable[[Array, Mapping[str, Array]], tuple[Array, Float[Array, " N"]]]


class Windows(NamedTuple):
    """A series cut into K overlapping windows of M rows, and where each row is in these.

    >>> cut = Windows.of(40, memory=2)
    >>> cut.place.shape, cut.place[1, :3].tolist(), cut.window[14:18].tolist()
    ((3, 18), [14, 15, 16], [0, 0, 1, 1])
    """

    place: np.ndarray
    window: np.ndarray
    position: np.ndarray

    @classmethod
    def of(cls, rows: int, memory: int) -> "Windows":
        """Windows that add `NEW` rows or twice the memory; the last ones repeat the last row."""
        new = max(NEW, 2 * memory)
        starts = np.maximum(np.arange(-(-rows // new)) * new - memory, 0)
        place = np.minimum(starts[:, None] + np.arange(new + memory), rows - 1)
        window = np.arange(rows) // new
        return cls(place, window, np.arange(rows) - starts[window])


def in_windows(
    densities: RowDensities, memory: int, vector: Array, data: Mapping[str, Array]
) -> tuple[Array, Float[Array, " N"]]:
    """(log prior, log density of each row) from windows of the series that are run side by side.

    A model that runs through its rows one after another (`scan`) takes as many steps as a window
    has rows, and not as many as the series has.
    """
    cut = Windows.of(next(iter(data.values())).shape[0], memory)
    rows = {n: jnp.asarray(v)[cut.place] for n, v in data.items()}
    prior, own = jax.vmap(lambda d: densities(vector, d))(rows)
    return prior[0], own[cut.window, cut.position]
