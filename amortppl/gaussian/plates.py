"""Which latents lie in plates, and which second derivatives are zero because of it.

The effects of groups are independent of one another given what the groups share. So the Hessian of
the log joint among them is diagonal, or has a block for each group: one product with it for all
groups together gives it all, whatever their number. Curtis, Powell and Reid 1974, "On the
estimation of sparse Jacobian matrices".
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

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
        """Indices of d."""
        return np.flatnonzero(np.array(self.parts) >= 0)

    @cached_property
    def outer(self) -> np.ndarray:
        """Indices of g."""
        return np.flatnonzero(np.array(self.parts) < 0)

    @cached_property
    def order(self) -> np.ndarray:
        """For each of d its number within its part."""
        part = np.array(self.parts)[self.inner]
        return np.array([np.sum(part[:i] == p) for i, p in enumerate(part)], int)

    @property
    def most(self) -> int:
        """S, the latents of the largest part."""
        return int(self.order.max(initial=-1)) + 1

    @cached_property
    def independent_sets(self) -> Float[np.ndarray, "S L"]:
        """S sets of d, each with at most one latent of every part: indicators."""
        return (self.order == np.arange(self.most)[:, None]).astype(np.float32)

    @cached_property
    def members(self) -> np.ndarray:
        """For each of N parts the places of its latents in d, (N, S); L where it has fewer."""
        part = np.array(self.parts)[self.inner]
        names = np.unique(part)
        members = np.full((len(names), self.most), len(part))
        members[np.searchsorted(names, part), self.order] = np.arange(len(part))
        return members

    @cached_property
    def directions(self) -> Float[np.ndarray, "M P"]:
        """The M = S + G vectors whose products with the Hessian hold all of its blocks."""
        sets = self.most
        along = np.zeros((sets + len(self.outer), len(self.parts)), np.float32)
        along[:sets, self.inner] = self.independent_sets
        along[sets:, self.outer] = np.eye(len(self.outer))
        return along

    def split(self, at: Float[Array, "*S P"]) -> tuple[Float[Array, "*S G"], Float[Array, "*S L"]]:
        """g and d of one vector, or of several."""
        return split_plates(at, self.plated)

    def join(self, g: Float[Array, "*S G"], d: Float[Array, "*S L"]) -> Float[Array, "*S P"]:
        """The vector, or several, of g and d."""
        return join_plates(g, d, self.plated)

    def blocks(
        self, products: Float[Array, "M P"]
    ) -> tuple[Float[Array, "G G"], Float[Array, "G L"], Float[Array, "N S S"]]:
        """The blocks of -Hessian, of g, of g and d, and of each part of d.

        Args:
            products: of the Hessian with `directions`.
        """
        by_g, by_d = self.split(-products)
        sets = self.most
        own = jnp.swapaxes(self.by_part(by_d[:sets]), 0, 1)  # (N, columns, rows)
        absent = self.members == len(self.inner)
        own = own + jnp.asarray(absent[:, :, None] * np.eye(sets), own.dtype)
        return by_g[sets:], by_d[sets:], jnp.swapaxes(own, 1, 2)

    def by_part(self, d: Float[Array, "*K L"]) -> Float[Array, "*K N S"]:
        """Vectors of d by part, zero where a part has fewer than S latents."""
        padded = jnp.concatenate([d, jnp.zeros_like(d[..., :1])], -1)
        return padded[..., self.members]

    def flat(self, by_part: Float[Array, "*K N S"]) -> Float[Array, "*K L"]:
        """The inverse of `by_part`."""
        each = by_part.reshape(*by_part.shape[:-2], -1)
        return each[..., np.argsort(self.members.ravel(), kind="stable")[: len(self.inner)]]

    def dense(self, blocks: Float[Array, "N S S"]) -> Float[Array, "L L"]:
        """The matrix of d with these blocks, zero between parts."""
        part = np.array(self.parts)[self.inner]
        rows = jnp.stack([self.flat(blocks[:, :, c]) for c in range(self.most)], -1)
        return jnp.where(part == part[:, None], rows[:, self.order], 0.0)


def split_plates(
    at: Float[Array, "*S P"], plated: tuple[bool, ...]
) -> tuple[Float[Array, "*S G"], Float[Array, "*S L"]]:
    """The entries that are not in plates, and those that are.

    By slices, here and in `join_plates`: gathers and scatters are dearer to compile.
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
    """The vector of the entries that are not in plates and of those that are."""
    pieces, start = [], [0, 0]
    for inside, run in groupby(plated):
        end = start[inside] + len(list(run))
        pieces.append((g, d)[inside][..., start[inside] : end])
        start[inside] = end
    return jnp.concatenate(pieces, -1)
