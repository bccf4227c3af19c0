"""Rows of one dataset, and a simulated task."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float


class Batch(eqx.Module):
    """Rows of one dataset, padded to a fixed number B; `mask` is False on the padding.

    What the mask leaves out still holds valid rows (padding, which comes last, repeats one; a
    mini-batch may be masked out of a longer dataset), so that every log density is finite.

    Attributes:
        data: arrays by argument, (B, ...).
        mask: which rows count, (B,).

    >>> batch = Batch({"y": jnp.array([0.5, 1.5, 1.5])}, jnp.array([True, True, False]))
    >>> float(jnp.sum(batch.data["y"] * batch.mask))
    2.0
    """

    data: dict[str, Array]
    mask: Bool[Array, "... B"]


class Draw(NamedTuple):
    """A task simulated from the prior: its latents (unconstrained vector) and its rows."""

    latents: Float[Array, " P"]
    data: dict[str, Array]


def next_rows(
    batch: Batch, start: Array | int, size: Array | int, most: int, lead: int | None = 0
) -> Batch:
    """The next `size` rows of a dataset from `start` on, or those that are left, in `most` places.

    Those of a series come behind the rows that they look back at, masked.

    Args:
        batch: the dataset.
        start: where the rows begin.
        size: how many are wanted, at most `most`.
        most: places for them.
        lead: rows before them that their densities depend on; None where all of them may matter,
            and all other rows are then there, masked.

    >>> batch = Batch({"y": jnp.arange(5.0)}, jnp.ones(5, bool))
    >>> after = next_rows(batch, 2, 2, most=2, lead=1)
    >>> after.data["y"].tolist(), after.mask.tolist()
    ([1.0, 2.0, 3.0], [False, True, True])
    """
    rows = batch.mask.shape[0]
    if lead is None:
        place = jnp.arange(rows)
        return Batch(batch.data, batch.mask & (place >= start) & (place < start + size))
    place = jnp.maximum(start - lead, 0) + jnp.arange(most + lead)
    wanted = (place >= start) & (place < jnp.minimum(start + size, rows))
    place = jnp.minimum(place, rows - 1)
    return Batch({n: v[place] for n, v in batch.data.items()}, wanted & batch.mask[place])


def split(batch: Batch, steps: int) -> Batch:
    """The rows of one dataset as K mini-batches: leading axis K. Rows must be a multiple of K.

    >>> batch = Batch({"y": jnp.arange(4.0)}, jnp.ones(4, bool))
    >>> split(batch, 2).data["y"].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    return jax.tree.map(lambda a: a.reshape(steps, a.shape[0] // steps, *a.shape[1:]), batch)


def split_in_order(batch: Batch, steps: int) -> Batch:
    """The rows of a series as K mini-batches: each holds all rows and masks those of the others.

    >>> batch = Batch({"y": jnp.arange(4.0)}, jnp.array([True, True, True, False]))
    >>> split_in_order(batch, 2).mask.tolist()
    [[True, True, False, False], [False, False, True, False]]
    """
    rows = batch.mask.shape[0]
    own = jnp.arange(rows) // (rows // steps) == jnp.arange(steps)[:, None]
    data = {n: jnp.broadcast_to(v, (steps, *v.shape)) for n, v in batch.data.items()}
    return Batch(data, batch.mask & own)


def random_mini_batches(batch: Batch, steps: int) -> Batch:
    """The rows of one dataset as K mini-batches of random sizes: leading axis K.

    Each mini-batch holds all rows and masks those of the others. With probability one half, one
    mini-batch has all rows and the others none; else the cuts are log-uniform. They are drawn with
    a key made from the data, so that the same data are always cut in the same way.

    >>> batch = Batch({"y": jnp.arange(4.0)}, jnp.ones(4, bool))
    >>> random_mini_batches(batch, 3).mask.sum(0).tolist()
    [1, 1, 1, 1]
    """
    count = jnp.sum(batch.mask)
    bits = [
        jax.lax.bitcast_convert_type(a.astype(jnp.float32), jnp.uint32)
        for a in jax.tree.leaves(batch.data)
    ]
    # A sum of whole numbers is the same in any order.
    key = jr.fold_in(jr.key(0), sum(jnp.sum(b) for b in bits))
    level = jnp.sort(jr.uniform(key, (steps - 1,)))
    cuts = jnp.ceil(jnp.maximum(count, 1) ** level).astype(int)
    cuts = jnp.where(jr.bernoulli(jr.fold_in(key, 1)), count, cuts)
    starts, stops = jnp.append(0, cuts), jnp.append(cuts, batch.mask.shape[0])
    place = jnp.arange(batch.mask.shape[0])
    masks = batch.mask & (place >= starts[:, None]) & (place < stops[:, None])
    return Batch({n: jnp.broadcast_to(v, (steps, *v.shape)) for n, v in batch.data.items()}, masks)
