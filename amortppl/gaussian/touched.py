"""Hessians of densities of which each row depends on few latents, as of subjects and items.

Real latents u are g, on which all rows may depend, and classes of d: of every class a row depends
on one latent at most, like the effect of its subject and that of its item. Which one it is follows
from derivatives along vectors of zeros and ones, a binary digit of the latent's number at a time:

    d l_i / d u along 1{digit b of the number in class k is 1}    =    0 or d l_i / d u_k(i)

Then -Hessian costs rows x (classes^2 + G), whatever the number of latents: second derivatives of
each row by its own latents, scattered by their numbers, and products with G unit vectors. Members
of the largest grouping are independent given all else, so it is an arrow
(`amortppl.gaussian.arrow`): of 3,000 subjects and 1,000 items the dense part is the items'. Curtis,
Powell and Reid 1974, "On the estimation of sparse Jacobian matrices"; Griewank and Toint 1982, "On
the unconstrained optimization of partially separable functions".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from amortppl.gaussian.newton import differentiate
from amortppl.gaussian.plates import Plates
from amortppl.gaussian.row_pairs import RowPairs, pays

Split = Callable[[Array], tuple[Array, Array]]
"""Log prior and log density of each row, (N,), of u."""


@dataclass(frozen=True)
class Classes:
    """Which of the latents u are g, and the classes of d.

    Attributes:
        of: for each latent of u its class, 0 to K - 1; -1 for g.
        beside: for each class and each latent of u, the place of the one latent of that class that
            the prior connects it with.
        first: the classes that are eliminated first: of one size, whose latents of the same number
            are one part, independent of all others given the rest.
    """

    of: tuple[int, ...]
    beside: tuple[tuple[int, ...], ...] = ()
    first: tuple[int, ...] = (0,)

    @property
    def count(self) -> int:
        """K."""
        return max(self.of) + 1

    @cached_property
    def shared(self) -> np.ndarray:
        """Places of g in u."""
        return np.flatnonzero(np.array(self.of) < 0)

    @cached_property
    def members(self) -> list[np.ndarray]:
        """Places of each class in u."""
        return [np.flatnonzero(np.array(self.of) == k) for k in range(self.count)]

    @cached_property
    def indicators(self) -> Float[np.ndarray, "K E"]:
        """Ones at the places of each class."""
        return np.stack([np.array(self.of) == k for k in range(self.count)]).astype(np.float32)

    @cached_property
    def plates(self) -> Plates:
        """The classes eliminated first, a part for each number."""
        parts = np.full(len(self.of), -1)
        for k in self.first:
            parts[self.members[k]] = np.arange(len(self.members[k]))
        return Plates(tuple(parts.tolist()))

    @cached_property
    def numbers(self) -> np.ndarray:
        """For each latent the number of its part, or its number among those of no part."""
        numbers = np.array(self.plates.parts)
        numbers[self.plates.outer] = np.arange(len(self.plates.outer))
        return numbers

    @property
    def products(self) -> int:
        """Evaluations of all rows that a Hessian takes: of pairs of classes, and of g."""
        return self.count * (self.count + 1) // 2 + self.count + len(self.shared)

    def depends(self, f: Callable[[Array], Array], at: Float[Array, " E"]) -> Int[Array, "K N"]:
        """For each number of f(u) the place of the latent of every class that it depends on.

        Args:
            f: of u; each number of its result depends on one latent of a class, at most. The place
                is that of the class's first latent where it depends on none.
            at: where f is differentiated.
        """
        return jnp.stack([_depends(f, at, members) for members in self.members])

    def precision(
        self, split: Split, at: Float[Array, " E"], rows: Int[Array, "K N"]
    ) -> tuple[Float[Array, " E"], tuple[Array, Array, Array], RowPairs | None]:
        """Gradient of log prior plus log density of all rows, and of -Hessian the blocks and the
        entries by row that `Arrow.of_blocks` takes.

        Args:
            split: the densities.
            at: u.
            rows: what `depends` says of the rows.
        """
        by_a, by_b = zip(*self._pairs, strict=True)
        along = jnp.asarray(self.indicators)
        prior = lambda v: split(v)[0]  # noqa: E731
        own = jax.vmap(lambda v: jax.jvp(jax.grad(prior), (at,), (v,))[1])(along)
        blocks = _Blocks.zero(self)
        for a, b in product(range(self.count), repeat=2):
            places = self.members[a]
            blocks = blocks.add(a, b, places, np.array(self.beside[b])[places], own[b][places])

        def bend(a: Array, b: Array) -> Array:
            slope = lambda v: jax.jvp(lambda w: split(w)[1], (v,), (a,))[1]  # noqa: E731
            return jax.jvp(slope, (at,), (b,))[1]

        bends = jax.vmap(bend)(along[np.array(by_a)], along[np.array(by_b)])
        for a, b, each in zip(by_a, by_b, bends, strict=True):
            blocks = blocks.add(a, b, rows[a], rows[b], each)
            if a != b:
                blocks = blocks.add(b, a, rows[b], rows[a], each)
        gradient, columns = self._of_shared(split, at)
        entries = dict(zip(self._pairs, bends, strict=True))
        pairs = self._by_row(rows, entries, own, columns) if self.is_sparse else None
        return gradient, blocks.of_arrow(columns), pairs

    @property
    def is_sparse(self) -> bool:
        """Whether entries are looked at by row."""
        members, others = self.plates.members, len(self.plates.outer)
        return self.count > 1 and pays(*members.shape, others)

    def _by_row(
        self, rows: Array, entries: dict[tuple[int, int], Array], own: Array, columns: Array
    ) -> RowPairs:
        """The Hessian between the class eliminated first and all others, of rows and prior."""
        (first,) = self.first
        places, number = self.members[first], jnp.asarray(self.numbers)
        others = [k for k in range(self.count) if k != first]
        beside = np.array(self.beside)[others][:, places]
        by_row = jnp.stack([entries[min(k, first), max(k, first)] for k in others])
        return RowPairs(
            jnp.concatenate([number[rows[first]], np.arange(len(places))]),
            jnp.concatenate([number[rows[np.array(others)]], self.numbers[beside]], 1),
            jnp.concatenate([by_row, own[np.array(others)][:, places]], 1),
            (jnp.asarray(self.numbers[self.shared]), self.plates.split(columns)[1]),
        )

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(combinations_with_replacement(range(self.count), 2))

    def _of_shared(self, split: Split, at: Array) -> tuple[Array, Float[Array, "G E"]]:
        """The gradient, and products of the Hessian with the unit vectors of g."""

        def total(v: Array) -> Array:
            prior, rows = split(v)
            return prior + jnp.sum(rows)

        if not len(self.shared):
            return jax.grad(total)(at), jnp.zeros((0, len(self.of)))
        units = jnp.eye(len(self.of))[self.shared]
        _, gradient, columns = jax.vmap(
            lambda v: differentiate(total, at, v), out_axes=(None, None, 0)
        )(units)
        return gradient, columns


class _Blocks(NamedTuple):
    """The Hessian by the plates' parts d and all others o; only what lies among classes."""

    classes: Classes
    of_o: Float[Array, "O O"]
    across: Float[Array, "O M S"]
    of_d: Float[Array, "M S S"]

    @classmethod
    def zero(cls, classes: Classes) -> "_Blocks":
        """No entry yet."""
        (parts, most), others = classes.plates.members.shape, len(classes.plates.outer)
        shapes = (others, others), (others, parts, most), (parts, most, most)
        return cls(classes, *map(jnp.zeros, shapes))

    def add(self, a: int, b: int, of_a: Array, of_b: Array, entries: Array) -> "_Blocks":
        """Adds entries of latents of class a, and of class b; those of o with d are of d and o."""
        inner, number = self.classes.first, jnp.asarray(self.classes.numbers)
        i, j = number[of_a], number[of_b]
        if a in inner and b in inner:
            place = (i, inner.index(a), inner.index(b))
            return self._replace(of_d=self.of_d.at[place].add(entries))
        if a in inner:
            return self._replace(across=self.across.at[j, i, inner.index(a)].add(entries))
        return self if b in inner else self._replace(of_o=self.of_o.at[i, j].add(entries))

    def of_arrow(self, columns: Float[Array, "G E"]) -> tuple[Array, Array, Array]:
        """-Hessian, with the products of the unit vectors of g."""
        plates, shared = self.classes.plates, self.classes.numbers[self.classes.shared]
        to_o, to_d = plates.split(columns)
        of_o = self.of_o.at[shared].set(to_o).at[:, shared].set(to_o.T)
        across = self.across.at[shared].set(plates.by_part(to_d))
        return -of_o, -plates.flat(across), -self.of_d


def _depends(f: Callable[[Array], Array], at: Array, members: np.ndarray) -> Int[Array, " N"]:
    digits = _digits(len(members))
    along = np.zeros((len(digits), len(at)), np.float32)
    along[:, members] = digits
    slopes = jax.vmap(lambda v: jax.jvp(f, (at,), (v,))[1])(jnp.asarray(along))
    number = jnp.sum((slopes != 0) << jnp.arange(len(digits))[:, None], 0)
    return jnp.asarray(members)[jnp.minimum(number, len(members) - 1)]


def _digits(count: int) -> Bool[np.ndarray, "B M"]:
    """Binary digits of 0, 1, ..., the least first."""
    return (np.arange(count) >> np.arange(max(count - 1, 1).bit_length())[:, None] & 1).astype(bool)
