"""A code for each entry of a model's latents: its site, and its place in the site.

Places are told apart by fixed random codes and placed by sinusoids (Vaswani et al. 2017, "Attention
is all you need", arXiv 1706.03762), both functions of the index alone, so that a site of any size
is coded by the same weights.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

RANDOM, WAVES = 16, 8
"""Numbers of the random code of a place, and wave lengths of its sinusoids."""


class LatentCodes(eqx.Module):
    """Sites of given shapes -> codes (P, E) of their entries, site after site in row-major order.

    Example:
        >>> LatentCodes([(), (3,)], 8, jr.key(0))().shape
        (4, 8)
    """

    site: Float[Array, "K E"]
    place: Float[Array, "C E"]
    sites: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __init__(self, sites: Sequence[tuple[int, ...]], width: int, key: PRNGKeyArray) -> None:
        keys, self.sites = jr.split(key), tuple(sites)
        axes = max((len(s) for s in sites), default=0)
        numbers = max(axes, 1) * (RANDOM + 2 * WAVES)
        self.site = 0.5 * jr.normal(keys[0], (len(sites), width))
        self.place = jr.normal(keys[1], (numbers, width)) / np.sqrt(RANDOM + WAVES)

    def __call__(self) -> Float[Array, "P E"]:
        """The codes."""
        shapes = [s or (1,) for s in self.sites]
        number = np.repeat(np.arange(len(shapes)), [int(np.prod(s)) for s in shapes])
        places = np.concatenate([_places(s, self.place.shape[0]) for s in shapes])
        return self.site[number] + jnp.asarray(places, jnp.float32) @ self.place


def _places(shape: tuple[int, ...], numbers: int) -> np.ndarray:
    """Random codes and sinusoids of each entry's index along each axis, (entries, numbers)."""
    index = np.stack([i.ravel() for i in np.indices(shape)])
    lengths = np.pi / 2.0 ** np.arange(WAVES)
    columns = []
    for axis, along in enumerate(index):
        codes = np.random.default_rng(axis).standard_normal((shape[axis], RANDOM))
        angles = along[:, None] * lengths
        columns += [codes[along], np.sin(angles), np.cos(angles)]
    columns = np.concatenate(columns, 1)
    return np.pad(columns, ((0, 0), (0, numbers - columns.shape[1])))
