"""Where the inputs of simulated tasks come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Array, PRNGKeyArray

from amortppl.errors import ModelError


@dataclass(frozen=True)
class Source:
    """Rows of one input.

    Attributes:
        rows: `(key, n) -> array` of n rows; for a block, of the whole block n times.
        joined: whether rows are picked from a table; tables of equal length stay joined by row.
    """

    rows: Callable[[PRNGKeyArray, int], Array]
    joined: bool = False


def source(argument: str, given: Any, block: bool) -> Source:
    """The rows of an input, from a user's description.

    Args:
        argument: the name of the model's argument, for messages.
        given: a distribution of one row, a callable `(key, n) -> array`, or a table
            (DataFrame, Series, array) whose rows are resampled with replacement.
        block: whether the data are one block of fixed size. A distribution then describes the
            whole block, and an array is the block.

    Raises:
        ModelError: the description is none of these, or a table does not hold finite numbers.
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, dist.Distribution):
        return Source(lambda key, n: given.sample(key, (n,)))
    if isinstance(given, pd.DataFrame | pd.Series | np.ndarray | jax.Array | list | tuple):
        values = jnp.asarray(_table(argument, given))
        if block:
            return Source(lambda key, n: jnp.broadcast_to(values, (n, *values.shape)))
        return Source(lambda key, n: values[jr.randint(key, (n,), 0, len(values))], joined=True)
    if callable(given):
        return Source(lambda key, n: _call(argument, given, key, n))
    raise ModelError(
        f"inputs[{argument!r}]: expected a numpyro distribution of one row, a callable "
        f"(key, n) -> array, or a DataFrame/array of rows; got {type(given).__name__}"
    )


def draw_rows(sources: Mapping[str, Source], key: PRNGKeyArray, n: int) -> dict[str, Array]:
    """n rows of every input; joined tables share one key, so equal lengths pick equal rows."""
    keys = {name: jr.fold_in(key, place) for place, name in enumerate(sorted(sources), start=1)}
    return {
        name: each.rows(key if each.joined else keys[name], n) for name, each in sources.items()
    }


def _table(argument: str, given: Any) -> np.ndarray:
    if np.ma.isMaskedArray(given) and (mask := np.ma.getmaskarray(given)).any():
        row = int(np.argwhere(mask)[0][0]) if mask.ndim else 0
        raise ModelError(
            f"inputs[{argument!r}]: expected finite numbers; row {row} is masked, and {mask.sum()} "
            f"of {mask.size} values are missing. Drop or fill those rows first"
        )
    try:
        rows = np.asarray(given)
        rows = rows if rows.dtype.kind in "biuf" else rows.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(f"inputs[{argument!r}]: expected numbers only, got {error}") from error
    bad = int((~np.isfinite(rows)).sum())
    if rows.size == 0 or bad:
        raise ModelError(
            f"inputs[{argument!r}]: expected finite numbers in at least one row, got shape "
            f"{rows.shape} with {bad} missing or infinite values; drop or fill those rows first"
        )
    return _narrow(argument, rows)


def _narrow(argument: str, rows: np.ndarray) -> np.ndarray:
    """The numbers 32 bits wide, as the model is run with them.

    Raises:
        ModelError: one is too large for that.
    """
    kind = np.float32 if rows.dtype.kind == "f" else np.int32
    if rows.dtype.kind == "b" or rows.dtype.itemsize < 4:
        return rows
    limit = np.finfo(np.float32).max if kind is np.float32 else np.iinfo(np.int32).max
    large = np.argwhere((rows > limit) | (rows < -limit))
    if len(large):
        at = tuple(large[0])
        raise ModelError(
            f"inputs[{argument!r}]: {rows[at]} at row {at[0]} is beyond {limit:.6g}, the largest "
            "number of 32 bits; give it in another unit"
        )
    return rows.astype(kind)


def _call(argument: str, given: Callable[..., Any], key: PRNGKeyArray, n: int) -> Array:
    rows = jnp.asarray(given(key, n))
    if rows.ndim == 0 or rows.shape[0] != n:
        raise ModelError(
            f"inputs[{argument!r}](key, {n}): expected an array of {n} rows, got shape {rows.shape}"
        )
    return rows


def row_range(rows: tuple[int, int] | int | None) -> tuple[int, int] | None:
    """Smallest and largest number of rows; None for one block."""
    if rows is None:
        return None
    low, high = (rows, rows) if isinstance(rows, int) else rows
    if not 1 <= low <= high:
        wanted = "1 <= smallest <= largest, or None for one block"
        raise ModelError(f"rows: expected {wanted}; got ({low}, {high})")
    return int(low), int(high)
