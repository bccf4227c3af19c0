"""Checks of the values of a dataset: numbers, finite, of the simulated type, in the support."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from numbers import Real
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


NUMBER = re.compile(r"\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf(inity)?|nan)\s*", re.I | re.A)
"""Text that is a number; Python also takes 1_000 for one."""


def numbers(
    name: str,
    values: Any,
    labels: list[str] | None,
    where: str = "",
    place: Callable[[int], str] = HERE.place,
) -> np.ndarray:
    """The values as an array of a numeric type, NaN where they are missing.

    Args:
        labels: the columns that they come from.
        where: ends the words that name them.
        place: row number -> words.

    Raises:
        DataError: some are masked, or no numbers.
    """
    if isinstance(values, pd.DataFrame):
        columns = [values.iloc[:, i] for i in range(values.shape[1])]
        told = labels or list(map(str, values.columns))
        each = [numbers(name, c, [t], where, place) for c, t in zip(columns, told, strict=True)]
        return np.column_stack(each) if each else values.to_numpy(np.float64)
    what = f"column {labels[0]!r}{where}" if labels else f"{name!r}{where}"
    refuse_masked(what, values, place)
    if isinstance(values, pd.Series) and _is_nullable(values):
        return values.to_numpy(np.float64, na_value=np.nan)
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of unequal lengths
        raise DataError(f"data: {what} should be an array of numbers ({error})") from error
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind in "OSU":
        odd = first_not_number(array)
        if odd is None:
            return _as_floats(array)
        raise _not_a_number(what, array, odd, place)
    kinds = {"c": "complex numbers", "m": "durations", "M": "dates"}
    raise DataError(
        f"data: {what} should hold numbers, got {array.dtype} "
        f"({kinds.get(array.dtype.kind, 'no numbers')}, first {array.ravel()[:1].tolist()}); "
        f"turn them into numbers first"
    )


def _is_nullable(values: pd.Series) -> bool:
    """Whether it is of one of pandas' numeric types with a missing value of their own."""
    extension = pd.api.types.is_extension_array_dtype(values.dtype)
    return extension and pd.api.types.is_numeric_dtype(values) and values.hasnans


def refuse_masked(what: str, values: Any, place: Callable[[int], str]) -> None:
    """Refuses the masked entries of a numpy masked array.

    Raises:
        DataError: naming the first.
    """
    if not np.ma.isMaskedArray(values) or not np.ma.getmaskarray(values).any():
        return
    mask = np.ma.getmaskarray(values)
    row = int(np.argwhere(mask)[0][0]) if mask.ndim else 0
    raise DataError(
        f"data: {what} is masked at {place(row)}; {int(mask.sum())} of {mask.size} values are "
        f"missing. Drop or fill those rows first"
    )


def first_not_number(array: np.ndarray) -> int | None:
    """The place, in a flat array, of the first value that is neither a number nor missing."""
    return next((i for i, v in enumerate(array.ravel()) if not _is_number(v)), None)


def _is_number(value: Any) -> bool:
    if isinstance(value, str | bytes):
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        return NUMBER.fullmatch(text) is not None
    return isinstance(value, Real | Decimal | np.bool_) or value is None or value is pd.NA


def _as_floats(array: np.ndarray) -> np.ndarray:
    missing = [v is None or v is pd.NA for v in array.ravel()]
    plain = np.where(np.reshape(missing, array.shape), np.nan, array) if any(missing) else array
    return plain.astype(np.float64)


def _not_a_number(what: str, array: np.ndarray, odd: int, place: Callable[[int], str]) -> DataError:
    value = array.ravel()[odd]
    value = value.item() if isinstance(value, np.generic) else value
    row = odd // max(array[0].size if array.ndim > 1 else 1, 1)
    comma = isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", value)
    cure = (
        "write decimals with a point"
        if comma
        else "turn categories into numbers or indicator columns first"
    )
    return DataError(
        f"data: {what} should hold numbers, got {array.dtype} (first other value: {value!r} at "
        f"{place(row)}); {cure}"
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


def cast(
    name: str,
    values: np.ndarray,
    dtype: np.dtype,
    labels: list[str] | None = None,
    where: Where = HERE,
) -> np.ndarray:
    """Finite values in the type that the model simulates.

    Raises:
        DataError: naming the first that is no whole number where whole numbers are simulated, or
            that the type cannot hold.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        converted = values.astype(dtype)
    if dtype.kind in "iu" and values.dtype != dtype and values.dtype.kind != "b":
        _expect_exact(name, values, converted == values, labels, where)
    if dtype.kind == "f" and values.dtype.kind != "b":
        held = np.isfinite(converted) | ~np.isfinite(values)
        if not held.all():
            at = tuple(int(i) for i in np.argwhere(~held)[0])
            column, place = column_of(labels, at), where.place(at[0])
            raise DataError(
                f"data: {name!r}{column} holds {values[at]} at {place}, which is infinite as "
                f"{dtype}; use smaller units"
            )
    return converted


def _expect_exact(
    name: str, values: np.ndarray, fine: np.ndarray, labels: list[str] | None, where: Where
) -> None:
    """Refuses values that are not whole numbers of the simulated type, those where `fine` is
    False.
    """
    if fine.all():
        return
    at = tuple(int(i) for i in np.argwhere(~fine)[0])
    small = values[at] == np.round(values[at])
    expected = "numbers that 32 bits can hold" if small else "whole numbers"
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
    for name, inside in support_mask(task, arrays).items():
        inside = np.asarray(inside)[:rows]
        if not inside.all():
            raise outside_support(task, name, arrays[name], inside, where)


@partial(jax.jit, static_argnums=0)
def support_mask(
    task: AbstractTask, arrays: Mapping[str, np.ndarray | jax.Array]
) -> dict[str, jax.Array]:
    """Which observations lie in the support of the site that they feed."""
    return task.supported(arrays)


def outside_support(
    task: AbstractTask, name: str, array: np.ndarray, inside: np.ndarray, where: Where = HERE
) -> DataError:
    """The error that names the first value outside its site's support."""
    bad = np.argwhere(~inside)
    site, at = task.sites[task.observed[name]], tuple(int(i) for i in bad[0])
    values = array[at] if inside.ndim == array.ndim else array[at[0]]
    return DataError(
        f"data: {name!r} holds {values} at "
        f"{where.place(at[1] if task.block and len(at) > 1 else at[0])}, outside the "
        f"support ({site.support}) of the site {site.name!r} ~ {site.distribution}; {len(bad)} "
        f"such rows{where.scope}"
    )
