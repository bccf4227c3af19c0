"""B D^-1 B' of rows that each meet few columns, by pairs of the rows of a part.

Of 3,000 subjects and 1,000 items with 20,000 rows, B' is 3,000 x 1,000, and no subject has more
than some tens of entries: a product of dense matrices takes 62 ms, pairs of rows 2 (25 of 73,000
rows).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

DENSE, PAIR = 1_000_000_000, 400
"""Multiplications of a dense product from which on pairs of rows are looked at, and how many of
these take as long as one pair."""


class RowPairs(NamedTuple):
    """Entries of B', of which row i adds values[k, i] at (parts[i], columns[k, i]).

    Attributes:
        parts: of D, which is diagonal.
        columns, values: of K entries of each row.
        shared: columns of B that are not sparse, and their entries, (Q,) and (Q, M).

    >>> rows = RowPairs(jnp.array([1, 0, 1]), jnp.array([[0, 1, 1]]), jnp.array([[1.0, 2.0, 3.0]]),
    ...                 (jnp.zeros(0, int), jnp.zeros((0, 2))))
    >>> rows.gram(jnp.ones(2), 2).tolist()
    [[1.0, 3.0], [3.0, 13.0]]
    """

    parts: Int[Array, " N"]
    columns: Int[Array, "K N"]
    values: Float[Array, "K N"]
    shared: tuple[Int[Array, " Q"], Float[Array, "Q M"]]

    def most(self, parts: int) -> Int[Array, ""]:
        """Rows of the largest part, of so many."""
        return jnp.max(jnp.bincount(self.parts, length=parts))

    def product(
        self,
        across: Float[Array, "O M"],
        mode_gradient: Float[Array, "M O"],
        own: Float[Array, " M"],
    ) -> Float[Array, "O O"]:
        """-B D^-1 B', by pairs or by dense matrices, whichever is cheaper.

        Args:
            across, mode_gradient: B, and -D^-1 B'.
            own: the diagonal of D.
        """
        others, parts = across.shape
        pairs = self.most(parts) * self.values.shape[1] * float(len(self.values)) ** 2
        return jax.lax.cond(
            PAIR * pairs < parts * float(others) ** 2,
            lambda: -self.gram(1.0 / own, others),
            lambda: across @ mode_gradient,
        )

    def gram(self, inverse: Float[Array, " M"], size: int) -> Float[Array, "O O"]:
        """B D^-1 B', of so many columns.

        Args:
            inverse: the diagonal of D^-1.
            size: O.
        """
        order = jnp.argsort(self.parts)
        rows = self.parts[order], self.columns[:, order], self.values[:, order]
        weighted = rows[2] * inverse[rows[0]]
        places = jnp.arange(len(order))

        def add(matrix: Array, apart: Array | int) -> Array:
            """Products of all rows with those so many places behind."""
            parts, columns, values = (jnp.roll(a, -apart, -1) for a in rows)
            same = (parts == rows[0]) & (places + apart < len(places))
            each = jnp.where(same, weighted[:, None] * values[None], 0.0)
            return matrix.at[rows[1][:, None], columns[None]].add(each)

        zero = jnp.zeros((size, size), weighted.dtype)
        behind = jax.lax.fori_loop(1, self.most(len(inverse)), lambda d, s: add(s, d), zero)
        which, dense = self.shared
        across = dense * inverse
        mixed = (
            zero[: len(which)].at[:, self.columns].add(across[:, self.parts][:, None] * self.values)
        )
        matrix = (add(zero, 0) + behind + behind.T).at[which].add(mixed).at[:, which].add(mixed.T)
        return matrix.at[which[:, None], which].add(across @ dense.T)


def pays(parts: int, most: int, others: int) -> bool:
    """Whether pairs of rows may be cheaper than a dense product."""
    return most == 1 and parts * others**2 > DENSE
