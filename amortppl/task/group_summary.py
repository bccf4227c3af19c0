"""A group of rows as a few numbers, as many whatever its size: what networks and checks see of it.

Of each number in a row the mean and the deviation within the group, of observations also the
covariances with the inputs; of the group its values and log(1 + rows).
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from amortppl.task.grouped_model import add_to_owners, has_further_lines, owners
from amortppl.task.groups import Layout
from amortppl.task.latents import entries

PAIRS = 8
"""Numbers of the inputs of a row, at most, whose covariance with observations is looked at."""


def group_columns(layout: Layout, data: Mapping[str, Array]) -> dict[str, Float[Array, "G C"]]:
    """Columns of each argument in `data`, of which the index is one; a row of them a group.

    >>> layout = Layout("school", (), ("y",))
    >>> data = {"school": jnp.array([[1.0, 1.0, 0.0]]), "y": jnp.array([[1.0, 3.0, 9.0]])}
    >>> group_columns(layout, data)["y"].tolist()
    [[2.0, 1.0]]
    """
    counts = jnp.asarray(data[layout.index])
    inputs = _paired(layout, {n: _flat(v, 2) for n, v in data.items()})
    columns = {}
    for name, values in data.items():
        if name == layout.index:
            columns[name] = jnp.log1p(_total(jnp.ones((*counts.shape, 1)), counts))
        elif name in layout.whole:
            columns[name] = _flat(values, 1)
        else:
            own = _flat(values, 2)
            mean, spread = _moments(own, counts)
            parts = [mean, spread]
            if name in layout.observed and inputs is not None:
                parts.append(_covariances(own, inputs, counts))
            columns[name] = jnp.concatenate(parts, -1)
    return columns


def column_labels(layout: Layout, like: Mapping[str, Any], name: str) -> list[str]:
    """Names of the columns of one argument.

    Args:
        layout: of the groups.
        like: shapes of all arguments, groups first.
        name: the argument.
    """
    if name == layout.index:
        return [f"rows of a {name}"]
    if name in layout.whole:
        return entries(name, like[name].shape[1:])
    own = entries(name, like[name].shape[2:])
    labels = [f"mean of {e} in a {layout.index}" for e in own]
    labels += [f"spread of {e} in a {layout.index}" for e in own]
    if name in layout.observed:
        others = [e for n in _row_inputs(layout, like) for e in entries(n, like[n].shape[2:])]
        labels += [f"{e} against {o}" for e in own for o in others[:PAIRS]]
    return labels


def _row_inputs(layout: Layout, data: Mapping[str, Any]) -> list[str]:
    """Inputs with a value for each row, in one order whatever that of `data`."""
    other = {layout.index, *layout.whole, *layout.observed}
    return sorted(n for n in data if n not in other)


def _paired(layout: Layout, flat: Mapping[str, Array]) -> Array | None:
    names = _row_inputs(layout, flat)
    return jnp.concatenate([flat[n] for n in names], -1)[..., :PAIRS] if names else None


def _flat(values: Array, lead: int) -> Array:
    shape = jnp.shape(values)
    size = prod(shape[lead:])
    return jnp.reshape(values, (*shape[:lead], size)).astype(jnp.float32)


def _total(values: Float[Array, "G R C"], counts: Array) -> Float[Array, "G C"]:
    """Sums over the rows that count of each line's group, in every line of it."""
    own = jnp.sum(jnp.where(counts[..., None] > 0, values, 0.0), 1)
    if not has_further_lines(counts):
        return own
    owner = owners(counts)
    return add_to_owners(own, owner)[owner]


def _number(counts: Array) -> Float[Array, "G 1"]:
    return jnp.maximum(_total(jnp.ones((*counts.shape, 1)), counts), 1.0)


def _moments(values: Float[Array, "G R C"], counts: Float[Array, "G R"]) -> tuple[Array, Array]:
    """Mean and deviation of the rows that count, (G, C)."""
    number = _number(counts)
    mean = _total(values, counts) / number
    return mean, jnp.sqrt(_total((values - mean[:, None]) ** 2, counts) / number)


def _covariances(values: Array, others: Array, counts: Array) -> Float[Array, "G C"]:
    apart, other = (v - _moments(v, counts)[0][:, None] for v in (values, others))
    product = apart[..., :, None] * other[..., None, :]
    return _total(product.reshape(*counts.shape, -1), counts) / _number(counts)


def as_user_data(layout: Layout, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by group as a user would give them: rows, each with the number of its group."""
    owner, counts = _owner(layout, data), np.asarray(data[layout.index]) > 0
    own = owner == np.arange(len(owner))
    rows = {
        n: np.asarray(v)[own] if n in layout.whole else np.asarray(v)[counts]
        for n, v in data.items()
    }
    return rows | {layout.index: owner[np.nonzero(counts)[0]]}


def _owner(layout: Layout, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """The line with which the group of each line begins, (G,)."""
    counts = np.asarray(data[layout.index])
    if not has_further_lines(counts):
        return np.arange(len(counts))
    return np.arange(len(counts)) - np.maximum(counts.max(1) - 1, 0)


def lines_of_rows(
    layout: Layout | None, data: Mapping[str, np.ndarray], start: int, stop: int
) -> dict[str, np.ndarray]:
    """Rows from `start` to `stop`, of groups with all of their lines.

    >>> counts = np.array([[1, 1], [1, 0], [1, 1], [2, 2]])  # the last line goes on with the third
    >>> lines_of_rows(Layout("school", (), ()), {"school": counts}, 1, 3)["school"].tolist()
    [[1, 0], [1, 1], [2, 2]]
    """
    if layout is None or not has_further_lines(data[layout.index]):
        return {n: v[start:stop] for n, v in data.items()}
    owner = _owner(layout, data)
    kept = np.nonzero((owner >= start) & (owner < stop))[0]
    part = {n: v[kept] for n, v in data.items()}
    above = np.arange(len(kept)) - (owner[kept] - start)
    counts = np.where(part[layout.index] > 0, 1 + above[:, None], 0)
    return part | {layout.index: counts.astype(data[layout.index].dtype)}


def rows_that_count(layout: Layout, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every argument as a table: of rows that count, of groups, and of how many rows these have.

    Args:
        data: arrays by argument, groups first.
    """
    owner, counts = _owner(layout, data), np.asarray(data[layout.index]) > 0
    own = owner == np.arange(len(owner))
    rows = {
        n: np.asarray(v)[own] if n in layout.whole else np.asarray(v)[counts]
        for n, v in data.items()
    }
    return rows | {layout.index: np.bincount(owner, counts.sum(1), len(owner))[own]}
