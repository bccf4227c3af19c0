"""A sum over a dataset's rows, one portion of them after another.

What is compiled is of a portion's rows; a short dataset in a long batch costs as many portions as
it fills; and the first portion, of rows evenly spaced over all, says roughly what all of them say.
"""

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

ROWS, MOST = 64, 8
"""Rows of a portion, at least, and portions of a batch, at most."""

DATASETS_PER_CALL = 16
"""Datasets of similar size that go through their portions together: the longest of them says how
many.
"""


class RowChunks(NamedTuple):
    """Places (K, M) of the rows of each portion, which of them are rows that the mask keeps, and
    how many portions.
    """

    place: Int[Array, "K M"]
    used: Bool[Array, "K M"]
    count: Int[Array, ""]


def free(task: AbstractTask) -> bool:
    """Whether rows can be cut and are worth it: they are independent, and the model runs on any
    number of them.

    A GPU takes all rows at once.
    """
    return task.row_free and not task.tied and jax.default_backend() == "cpu"


def many(task: AbstractTask, batch: Batch) -> bool:
    """Whether a batch is cut: its rows can be, and are more than two portions."""
    return free(task) and batch.mask.shape[0] > 2 * ROWS


def row_chunks(mask: Bool[Array, " B"]) -> RowChunks:
    """Cuts the rows from the first that a mask keeps to the last into equal portions: of n portions
    the i-th has rows
    i, i + n, i + 2n, ..."""
    rows = max(ROWS, ceil(mask.shape[0] / MOST))
    most = ceil(mask.shape[0] / rows)
    first, length = _span(mask)
    count, number = jnp.clip(-(-length // rows), 1, most), jnp.arange(most)[:, None]
    place, used = _nth(mask, first, length, number + count * jnp.arange(rows))
    return RowChunks(place, used & (number < count), count)


def thin(batch: Batch, rows: int) -> Batch:
    """Every n-th row from the first that the mask keeps to the last, n such that `rows` suffice."""
    first, length = _span(batch.mask)
    nth = jnp.maximum(-(-length // rows), 1) * jnp.arange(rows)
    place, used = _nth(batch.mask, first, length, nth)
    return Batch({n: jnp.asarray(v)[place] for n, v in batch.data.items()}, used)


def _span(mask: Bool[Array, " B"]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Where the first row is that a mask keeps, and how many there are from it to the last one."""
    place = jnp.arange(mask.shape[0])
    first = jnp.min(jnp.where(mask, place, mask.shape[0]))
    return first, jnp.maximum(jnp.max(jnp.where(mask, place + 1, 0)) - first, 0)


def _nth(
    mask: Bool[Array, " B"], first: Array, length: Array, nth: Int[Array, "*K"]
) -> tuple[Array, Array]:
    """The place of the n-th row of a span, and whether the mask keeps it."""
    place = jnp.minimum(first + nth, mask.shape[0] - 1)
    return place, (nth < length) & mask[place]


def sum_chunks(
    part: Callable[[Float[Array, " P"], Batch, Array], Array], batch: Batch
) -> Callable[..., Array]:
    """f(u, few) = sum_i part(u, portion i, i = 0), or of the first portion alone where `few` (False
    by default).

    To be differentiated twice like any function.

    Args:
        part: what a portion adds; told whether it is the first.
        batch: rows of a dataset.
    """
    cut, data = row_chunks(batch.mask), {n: jnp.asarray(v) for n, v in batch.data.items()}

    def over(look: Callable[[Batch, Array], Any], few: Array) -> Any:
        def portion(i: Array) -> Any:
            return look(Batch({n: v[cut.place[i]] for n, v in data.items()}, cut.used[i]), i == 0)

        none = jax.tree.map(
            lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(portion, cut.count)
        )
        more = lambda i, total: jax.tree.map(jnp.add, total, portion(i))  # noqa: E731
        return jax.lax.fori_loop(0, jnp.where(few, 1, cut.count), more, none)

    # Derivatives are sums of the portions' own: a loop whose end is known only when it runs has no
    # reverse mode.
    @jax.custom_jvp
    def total(at: Array, few: Array) -> Array:
        return over(lambda *rows: part(at, *rows), few)

    @jax.custom_jvp
    def sloped(at: Array, few: Array) -> tuple[Array, Array]:
        return over(lambda *rows: jax.value_and_grad(part)(at, *rows), few)

    @total.defjvp
    def first_order(at: tuple[Array, Array], along: tuple[Array, Any]) -> tuple[Array, Array]:
        height, slope = sloped(*at)
        return height, slope @ along[0]

    @sloped.defjvp
    def second_order(at: tuple[Array, Array], along: tuple[Array, Any]) -> tuple[Any, Any]:
        def product(*rows: Any) -> tuple[Any, Any]:
            return jax.jvp(lambda at: jax.value_and_grad(part)(at, *rows), at[:1], along[:1])

        return over(product, at[1])

    return lambda at, few=False: total(at, jnp.asarray(few))
