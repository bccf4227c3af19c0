"""Named latent sites <-> one unconstrained vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Latents:
    """The layout of a model's latents in one vector of length P.

    Sites lie in the order of their names, which is also the order in which
    `jax.flatten_util.ravel_pytree` and NumPyro's kernels flatten a dict of sites, so that
    a P x P matrix made here is a mass matrix there.

    Attributes:
        shapes: each site's shape as the user sees it.
        unconstrained: each site's shape after its support was mapped to the real line.
    """

    shapes: dict[str, tuple[int, ...]]
    unconstrained: dict[str, tuple[int, ...]]

    @property
    def names(self) -> list[str]:
        """Site names in vector order."""
        return sorted(self.unconstrained)

    @property
    def size(self) -> int:
        """P, the length of the vector."""
        return sum(prod(s) for s in self.unconstrained.values())

    def flatten(self, sites: Mapping[str, Array]) -> Float[Array, " P"]:
        """Unconstrained values by site -> vector."""
        return jnp.concatenate([jnp.zeros(0), *(jnp.ravel(sites[n]) for n in self.names)])

    def unflatten(self, vector: Float[Array, " P"]) -> dict[str, Array]:
        """Vector -> unconstrained values by site."""
        sites, start = {}, 0
        for name in self.names:
            stop = start + prod(self.unconstrained[name])
            sites[name] = vector[start:stop].reshape(self.unconstrained[name])
            start = stop
        return sites

    def labels(self) -> list[str]:
        """A label for each entry of the vector: `sigma`, `weights[0]`, ..."""
        return [label for name in self.names for label in entries(name, self.unconstrained[name])]


def entries(name: str, shape: tuple[int, ...]) -> list[str]:
    """Labels of the entries of one site: `name`, `name[0]`, `name[0, 1]`, in row-major order."""
    if not shape:
        return [name]
    return [f"{name}[{', '.join(map(str, index))}]" for index in np.ndindex(*shape)]
