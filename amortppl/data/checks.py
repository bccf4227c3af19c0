"""Checks of the values of a dataset: numbers, finite, of the simulated type, in the support."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from amortppl.errors import DataError
from amortppl.task.abstract import AbstractTask


class Where(NamedTuple):
    """How messages name a place in the data.

    Attributes:
        place: row number -> words.
        scope: what the counts are of, when not of all the data.
    """

    place: Callable[[int], str] = "row {}".format
    scope: str = ""


HERE = Where()


def numbers(name: str, values: Any, labels: list[str] | None, where: str = "") -> np.ndarray:
    """The values as an array of a numeric type.

    Raises:
        DataError: some are not numbers; `where` ends the words that name them.
    """
    if isinstance(values, pd.DataFrame):
        for column in values:
            if not pd.api.types.is_numeric_dtype(values[column]) and not pd.api.types.is_bool_dtype(
                values[column]
            ):
                raise _wrong_type(f"column {column!r}{where}", values[column])
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        try:
            if array.dtype.kind in "mM":
                raise TypeError("dates")
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise _wrong_type(
                f"column {labels[0]!r}{where}" if labels else f"{name!r}{where}", values
            ) from error
    return array


def _wrong_type(what: str, values: Any) -> DataError:
    array = np.asarray(values).ravel()
    odd = next((v for v in array if not isinstance(v, int | float | np.number)), None)
    return DataError(
        f"data: {what} should hold numbers, got {getattr(values, 'dtype', type(values).__name__)} "
        f"(first other "
        f"value: {odd!r}); "
        "turn categories into numbers or indicator columns first"
    )


def check_finite(
    name: str, values: np.ndarray, labels: list[str] | None, where: Where = HERE
) -> None:
    """Refuses NaN and infinite values.

    Raises:
        DataError: naming the first of them.
    """
    fine = np.isfinite(values)
    if fine.all():
        return
    at = tuple(int(i) for i in np.argwhere(~fine)[0])
    vector = values.shape[1:] not in ((), (1,)) and len(labels or ()) < 2
    place = where.place(at[0] if at else 0) + (f", position {list(at[1:])}" if vector else "")
    raise DataError(
        f"data: {name!r}{column_of(labels, at)} holds {values[at]} at {place}; "
        f"{int((~fine).sum())} of {values.size} "
        f"values{where.scope} are missing, or infinite as {values.dtype}. Drop or fill those rows "
        f"first"
    )


def column_of(labels: list[str] | None, at: tuple[int, ...]) -> str:
    """Words for the column of an entry, where there are column names."""
    return f" (column {labels[at[1] if len(labels) > 1 else 0]!r})" if labels else ""


def simulated_type(task: AbstractTask, name: str) -> np.dtype:
    """The type that the model simulates for an argument; float32 for booleans."""
    dtype = np.dtype(task.rows_like[name].dtype)
    return np.dtype(np.float32) if dtype.kind == "b" else dtype


def whole_numbers(
    name: str, values: np.ndarray, fine: np.ndarray, labels: list[str] | None, where: Where = HERE
) -> None:
    """Refuses values that are not whole numbers of the type that the model simulates, those where
    `fine` is False.

    Raises:
        DataError: naming the first of them.
    """
    if fine.all():
        return
    at = tuple(int(i) for i in np.argwhere(~fine)[0])
    small = abs(values[at]) < 2**31
    expected = "whole numbers" if small else "numbers that 32 bits can hold"
    column, place = column_of(labels, at), where.place(at[0])
    raise DataError(f"data: {name!r}{column} should hold {expected}, got {values[at]} at {place}")


UNBOUNDED = ("Real", "RealVector")
"""Supports that hold every finite number."""


def in_support(
    task: AbstractTask, arrays: Mapping[str, np.ndarray], size: int, where: Where = HERE
) -> None:
    """Refuses observations outside the support of the site that they feed.

    Args:
        size: number of rows to which the arrays are padded first, so that few shapes are compiled.

    Raises:
        DataError: naming the first of them.
    """
    if all(task.sites[s].support in UNBOUNDED for s in task.observed.values()):
        return
    rows = len(next(iter(arrays.values())))
    if size > rows:
        arrays = {
            n: np.concatenate([v, np.repeat(v[:1], size - rows, 0)]) for n, v in arrays.items()
        }
    for name, inside in _support_mask(task, arrays).items():
        inside = np.asarray(inside)[:rows]
        if not inside.all():
            _outside(task, name, arrays[name], inside, where)


@partial(jax.jit, static_argnums=0)
def _support_mask(task: AbstractTask, arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return task.supported(arrays)


def _outside(
    task: AbstractTask, name: str, array: np.ndarray, inside: np.ndarray, where: Where
) -> None:
    bad = np.argwhere(~inside)
    site, at = task.sites[task.observed[name]], tuple(int(i) for i in bad[0])
    values = array[at] if inside.ndim == array.ndim else array[at[0]]
    raise DataError(
        f"data: {name!r} holds {values} at "
        f"{where.place(at[1] if task.block and len(at) > 1 else at[0])}, outside the "
        f"support ({site.support}) of the site {site.name!r} ~ {site.distribution}; {len(bad)} "
        f"such rows{where.scope}"
    )
