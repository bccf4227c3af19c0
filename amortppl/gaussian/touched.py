"""Hessians of densities of which each row depends on few latents, as of subjects and items.

Real latents u are g, on which all rows may depend, and classes of d: of every class a row depends
on one latent at most, like the effect of its subject and that of its item. Which one it is follows
from derivatives along vectors of zeros and ones, a binary digit of the latent's number at a time:

    d l_i / d u along 1{digit b of the number in class k is 1}    =    0 or d l_i / d u_k(i)

Then -Hessian costs rows x (classes^2 + G), whatever the number of latents: second derivatives of
each row by its own latents, scattered by their numbers, and products with G unit vectors. Curtis,
Powell and Reid 1974, "On the estimation of sparse Jacobian matrices"; Griewank and Toint 1982, "On
the unconstrained optimization of partially separable functions".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from amortppl.gaussian.newton import differentiate

Split = Callable[[Array], tuple[Array, Array]]
"""Log prior and log density of each row, (N,), of u."""


@dataclass(frozen=True)
class Classes:
    """Which of the latents u are g, and the classes of d.

    Attributes:
        of: for each latent of u its class, 0 to K - 1; -1 for g.
        beside: for each class and each latent of u, the place of the one latent of that class that
            the prior connects it with.
    """

    of: tuple[int, ...]
    beside: tuple[tuple[int, ...], ...] = ()

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
    ) -> tuple[Float[Array, " E"], Float[Array, "E E"]]:
        """Gradient and -Hessian of log prior plus log density of all rows.

        Args:
            split: the densities.
            at: u.
            rows: what `depends` says of the rows.
        """
        size, (by_a, by_b) = len(self.of), zip(*self._pairs, strict=True)
        along = jnp.asarray(self.indicators)
        prior = lambda v: split(v)[0]  # noqa: E731
        own = jax.vmap(lambda v: jax.jvp(jax.grad(prior), (at,), (v,))[1])(along)
        matrix = jnp.zeros((size, size)).at[np.arange(size), np.array(self.beside)].add(own)

        def bend(a: Array, b: Array) -> Array:
            slope = lambda v: jax.jvp(lambda w: split(w)[1], (v,), (a,))[1]  # noqa: E731
            return jax.jvp(slope, (at,), (b,))[1]

        bends = jax.vmap(bend)(along[np.array(by_a)], along[np.array(by_b)])
        for a, b, each in zip(by_a, by_b, bends, strict=True):
            matrix = matrix.at[rows[a], rows[b]].add(each)
            if a != b:
                matrix = matrix.at[rows[b], rows[a]].add(each)
        gradient, columns = self._of_shared(split, at)
        matrix = matrix.at[self.shared].set(columns).at[:, self.shared].set(columns.T)
        return gradient, -matrix

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
