"""Which latents lie in plates, and which derivatives are zero because of it.

The effects of groups are independent of one another given what the groups share. So the Hessian of
the log joint among them is diagonal, or has a block for each group: one product with it for all
groups together shows it all, whatever their number. Curtis, Powell and Reid 1974, "On the
estimation of sparse Jacobian matrices".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Plates:
    """Latents in plates, d, and others, g.

    Attributes:
        parts: for each latent the part of d that it belongs to, of parts that are independent given
            g; -1 for g.
    """

    parts: tuple[int, ...]

    @property
    def plated(self) -> tuple[bool, ...]:
        """Which latents are d."""
        return tuple(p >= 0 for p in self.parts)

    @cached_property
    def inner(self) -> np.ndarray:
        """Places of d."""
        return np.flatnonzero(np.array(self.parts) >= 0)

    @cached_property
    def outer(self) -> np.ndarray:
        """Places of g."""
        return np.flatnonzero(np.array(self.parts) < 0)

    @cached_property
    def together(self) -> Float[np.ndarray, "C L"]:
        """C sets of d, each with at most one latent of every part."""
        part = np.array(self.parts)[self.inner]
        number = np.array([np.sum(part[:i] == p) for i, p in enumerate(part)])
        return (number == np.arange(number.max(initial=-1) + 1)[:, None]).astype(np.float32)

    def parted(self, at: Float[Array, "*S P"]) -> tuple[Float[Array, "*S G"], Float[Array, "*S L"]]:
        """g and d of one vector, or several."""
        return split_plates(at, self.plated)

    def joined(self, g: Float[Array, "*S G"], d: Float[Array, "*S L"]) -> Float[Array, "*S P"]:
        """One vector, or several."""
        return join_plates(g, d, self.plated)

    def slope_and_curvature(
        self, f: Callable[..., Array], at: Float[Array, " P"], *among: Array
    ) -> tuple[Array, Array]:
        """Gradient and -Hessian of a log density, from 1 + G products for the latents of a simple
        plate.
        """
        (slope_g, slope_d), (bend_g, across, bend_d) = self.blocks(f, at, *among)
        rows = self.joined(bend_g, across), self.joined(across.T, bend_d)
        return self.joined(slope_g, slope_d), self.joined(rows[0].T, rows[1].T)

    def blocks(
        self, f: Callable[..., Array], at: Float[Array, " P"], *among: Array
    ) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
        """The gradient by g and by d, and blocks of -Hessian: of g (G, G), of g and d (G, L), and
        of d (L, L).
        """
        sets, part = len(self.together), np.array(self.parts)[self.inner]
        along = np.zeros((sets + len(self.outer), len(self.parts)), np.float32)
        along[:sets, self.inner], along[sets:, self.outer] = self.together, np.eye(len(self.outer))

        def product(along: Array) -> tuple[Array, Array]:
            return jax.jvp(lambda at: jax.grad(f)(at, *among), (at,), (along,))

        slope, found = jax.vmap(product, out_axes=(None, 0))(jnp.asarray(along))
        by_g, by_d = self.parted(-found)
        own = by_d[:1] if sets == 1 else by_d[np.argmax(self.together, 0)]
        return self.parted(slope), (
            by_g[sets:],
            by_d[sets:],
            jnp.where(part == part[:, None], own, 0.0),
        )


def split_plates(
    at: Float[Array, "*S P"], plated: tuple[bool, ...]
) -> tuple[Float[Array, "*S G"], Float[Array, "*S L"]]:
    """What is not in plates, and what is.

    By slices, here and in `joined`: gathers and scatters by the places of each would be dearer to
    compile.
    """
    pieces: tuple[list[Array], list[Array]] = ([at[..., :0]], [at[..., :0]])
    start = 0
    for inside, run in groupby(plated):
        end = start + len(list(run))
        pieces[inside].append(at[..., start:end])
        start = end
    g, d = (jnp.concatenate(p, -1) for p in pieces)
    return g, d


def join_plates(
    g: Float[Array, "*S G"], d: Float[Array, "*S L"], plated: tuple[bool, ...]
) -> Float[Array, "*S P"]:
    """The whole from what is not in plates and what is."""
    pieces, start = [], [0, 0]
    for inside, run in groupby(plated):
        end = start[inside] + len(list(run))
        pieces.append((g, d)[inside][..., start[inside] : end])
        start[inside] = end
    return jnp.concatenate(pieces, -1)
