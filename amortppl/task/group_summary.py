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
            columns[name] = jnp.log1p(jnp.sum(counts, 1, keepdims=True))
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


def _moments(values: Float[Array, "G R C"], counts: Float[Array, "G R"]) -> tuple[Array, Array]:
    """Mean and deviation of the rows that count, (G, C)."""
    kept, number = counts[..., None] > 0, jnp.maximum(jnp.sum(counts, 1), 1.0)[:, None]
    mean = jnp.sum(jnp.where(kept, values, 0.0), 1) / number
    apart = jnp.where(kept, values - mean[:, None], 0.0)
    return mean, jnp.sqrt(jnp.sum(apart**2, 1) / number)


def _covariances(values: Array, others: Array, counts: Array) -> Float[Array, "G C"]:
    kept, number = counts[..., None] > 0, jnp.maximum(jnp.sum(counts, 1), 1.0)[:, None, None]
    apart, other = (
        jnp.where(kept, v - _moments(v, counts)[0][:, None], 0.0) for v in (values, others)
    )
    product = jnp.einsum("grc,grd->gcd", apart, other) / number
    return product.reshape(len(product), -1)


def as_user_data(layout: Layout, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by group as a user would give them: rows, each with the number of its group."""
    counts = np.asarray(data[layout.index]) > 0
    rows = {
        n: np.asarray(v) if n in layout.whole else np.asarray(v)[counts] for n, v in data.items()
    }
    return rows | {layout.index: np.nonzero(counts)[0]}


def rows_that_count(layout: Layout, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every argument as a table: of rows that count, of groups, and of how many rows these have.

    Args:
        data: arrays by argument, groups first.
    """
    counts = np.asarray(data[layout.index]) > 0
    rows = {n: v if n in layout.whole else np.asarray(v)[counts] for n, v in data.items()}
    return rows | {layout.index: counts.sum(1)}
