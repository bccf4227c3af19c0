"""A sum over a dataset's rows, one chunk of them after another.

What is compiled is of a chunk's rows. A short dataset in a long batch costs as many chunks as it
fills. The rows of the first chunk are evenly spaced over all, so that its sum stands for theirs.
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
"""Rows of a chunk, at least, and chunks of a batch, at most."""

DATASETS_PER_CALL = 16
"""Datasets of similar size whose chunks are evaluated together, as many as the longest has."""


class RowChunks(NamedTuple):
    """The rows of K chunks of M rows.

    Attributes:
        place: indices of each chunk's rows.
        used: which of these the mask keeps.
        count: how many of the chunks have rows.
    """

    place: Int[Array, "K M"]
    used: Bool[Array, "K M"]
    count: Int[Array, ""]


def free(task: AbstractTask) -> bool:
    """Whether to cut a task's rows: they are independent, and the model runs on any number.

    A GPU takes all rows at once.
    """
    return task.independent and jax.default_backend() == "cpu"


def many(task: AbstractTask, batch: Batch) -> bool:
    """Whether a batch is cut: its rows can be, and are more than two chunks. Groups of several
    lines are not.
    """
    whole = task.has_further_lines(batch.data)
    return free(task) and not whole and batch.mask.shape[0] > 2 * ROWS


def row_chunks(mask: Bool[Array, " B"]) -> RowChunks:
    """Cuts the span from the first row that a mask keeps to the last into equal chunks.

    Of n chunks the i-th has rows i, i + n, i + 2n, ...
    """
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
    """The first row that a mask keeps, and how many there are from it to the last one."""
    place = jnp.arange(mask.shape[0])
    first = jnp.min(jnp.where(mask, place, mask.shape[0]))
    return first, jnp.maximum(jnp.max(jnp.where(mask, place + 1, 0)) - first, 0)


def _nth(
    mask: Bool[Array, " B"], first: Array, length: Array, nth: Int[Array, "*K"]
) -> tuple[Array, Array]:
    """The index of the n-th row of a span, and whether the mask keeps it."""
    place = jnp.minimum(first + nth, mask.shape[0] - 1)
    return place, (nth < length) & mask[place]


def sum_chunks(
    part: Callable[[Float[Array, " P"], Batch, Array], Array], batch: Batch
) -> Callable[..., Array]:
    """f(u, few) = sum_i part(u, chunk i, i = 0); of the first chunk alone where `few` is True.

    It can be differentiated twice. Its derivatives are sums of the chunks' own, by rules of f's
    own: a loop whose end is known only when it runs has no reverse mode.

    Args:
        part: what a chunk adds; the last argument is whether it is the first.
        batch: rows of a dataset.
    """
    over = chunk_loop(batch)

    @jax.custom_jvp
    def total(at: Array, few: Array) -> Array:
        return over(lambda *rows: part(at, *rows), few)

    @jax.custom_jvp
    def total_and_gradient(at: Array, few: Array) -> tuple[Array, Array]:
        return over(lambda *rows: jax.value_and_grad(part)(at, *rows), few)

    @total.defjvp
    def first_order(at: tuple[Array, Array], along: tuple[Array, Any]) -> tuple[Array, Array]:
        height, gradient = total_and_gradient(*at)
        return height, gradient @ along[0]

    @total_and_gradient.defjvp
    def second_order(at: tuple[Array, Array], along: tuple[Array, Any]) -> tuple[Any, Any]:
        def product(*rows: Any) -> tuple[Any, Any]:
            return jax.jvp(lambda at: jax.value_and_grad(part)(at, *rows), at[:1], along[:1])

        return over(product, at[1])

    return lambda at, few=False: total(at, jnp.asarray(few))


def chunk_loop(batch: Batch) -> Callable[[Callable[[Batch, Array], Any], Array], Any]:
    """Sums a function of (chunk, whether it is the first) over the chunks of a batch."""
    cut, data = row_chunks(batch.mask), {n: jnp.asarray(v) for n, v in batch.data.items()}

    def over(evaluate: Callable[[Batch, Array], Any], few: Array) -> Any:
        def one(i: Array) -> Any:
            rows = {n: v[cut.place[i]] for n, v in data.items()}
            return evaluate(Batch(rows, cut.used[i]), i == 0)

        def add(i: Array, total: Any) -> Any:
            return jax.tree.map(jnp.add, total, one(i))

        shapes = jax.eval_shape(one, cut.count)
        none = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        return jax.lax.fori_loop(0, jnp.where(few, 1, cut.count), add, none)

    return over
