"""Numbers that a user passes, refused where they can mean nothing or more than the machine has."""

import math
import os
from typing import Any

import numpy as np

from amortppl.errors import DataError

INT64 = 1 << 63

COPIES = 6
"""Arrays of all draws held at once, about: unconstrained, constrained, densities, on device and
off."""


def expect_whole(
    name: str, value: Any, low: int, high: int | None = None, error: type[Exception] = DataError
) -> None:
    """Refuses what is no whole number in a range.

    Raises:
        error: naming the argument.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        upto = "" if high is None else f" and at most {high}"
        raise error(f"{name}: expected a whole number, at least {low}{upto}, got {value!r}")


def expect_positive(name: str, value: Any, error: type[Exception] = DataError) -> None:
    """Refuses what is no finite number above zero.

    Raises:
        error: naming the argument.
    """
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise error(f"{name}: expected a finite number above 0, got {value!r}")


def expect_seed(value: Any, error: type[Exception] = DataError) -> None:
    """Refuses seeds that are no whole numbers of 64 bits.

    Raises:
        error: saying so.
    """
    expect_whole("seed", value, -INT64, INT64 - 1, error)


def expect_draws(draws: Any, numbers: int) -> None:
    """Refuses numbers of draws below one, or of more memory than the machine has.

    Args:
        numbers: numbers in a draw.

    Raises:
        DataError: saying how much memory they would take.
    """
    if not isinstance(draws, int | np.integer) or isinstance(draws, bool) or draws < 1:
        raise DataError(f"draws: expected at least 1, got {draws!r}")
    needed, there = 4 * COPIES * int(draws) * max(numbers, 1), memory()
    if there is not None and needed > there:
        raise DataError(
            f"draws: {draws:,} draws of {numbers} numbers would take about {needed / 1e9:,.0f} GB, "
            f"and this machine has {there / 1e9:,.0f} GB; ask for fewer"
        )


def memory() -> int | None:
    """Bytes of memory of this machine, where it tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
