"""What JSON that is read may hold: every field by type, range and depth.

A kind is a callable `(value, place) -> None` that raises a `GuideError` naming the place.
"""

import math
from collections.abc import Callable
from typing import Any

from amortppl.errors import GuideError

Kind = Callable[[Any, str], None]

INT64 = 1 << 63

NUMBER = 1e300


def whole(low: int = -INT64, high: int = 2 * INT64 - 1) -> Kind:
    """A whole number from `low` to `high`."""

    def check(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(place, f"a whole number from {low} to {high}", value)

    return check


def real(value: Any, place: str) -> None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= NUMBER:
        raise wrong(place, "a finite number", value)


def loss(value: Any, place: str) -> None:
    """A number, or NaN or an infinity, as losses may be."""
    if not (isinstance(value, float) and not math.isfinite(value)):
        real(value, place)


def text(value: Any, place: str) -> None:
    """A string of at most 4,096 characters."""
    if not isinstance(value, str) or len(value) > 4096 or "\0" in value:
        raise wrong(place, "a string of at most 4,096 characters", value)


def one_of(*allowed: Any) -> Kind:
    """One of some values."""

    def check(value: Any, place: str) -> None:
        if not any(type(value) is type(a) and value == a for a in allowed):
            raise wrong(place, f"one of {', '.join(map(repr, allowed))}", value)

    return check


def either(*kinds: Kind) -> Kind:
    """Any of some kinds; the error is that of the last."""

    def check(value: Any, place: str) -> None:
        for kind in kinds[:-1]:
            try:
                return kind(value, place)
            except GuideError:
                continue
        return kinds[-1](value, place)

    return check


def many(kind: Kind, length: int | None = None) -> Kind:
    """A list of one kind, of some length where it is given."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            size = "" if length is None else f" of {length}"
            raise wrong(place, f"a list{size}", value)
        for number, each in enumerate(value):
            try:
                kind(each, place)
            except GuideError:  # its place takes longer to write than a number to check
                kind(each, f"{place}[{number}]")

    return check


def named(kind: Kind) -> Kind:
    """A JSON object whose values are of one kind."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise wrong(place, "a JSON object", value)
        for name, each in value.items():
            text(name, place)
            kind(each, f"{place}.{name[:40]}")

    return check


def fields(needed: dict[str, Kind], optional: dict[str, Kind] | None = None) -> Kind:
    """A JSON object with some fields; others, which a later version may add, are left alone."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise wrong(place, "a JSON object", value)
        for name, kind in needed.items():
            if name not in value:
                raise GuideError(f"{place}: the field {name!r} is missing")
            kind(value[name], f"{place}.{name}")
        for name, kind in (optional or {}).items():
            if name in value:
                kind(value[name], f"{place}.{name}")

    return check


def wrong(place: str, expected: str, value: Any) -> GuideError:
    """The error of a value that is not of the kind expected at a place of a file."""
    came = repr(value) if isinstance(value, int | float | str) else type(value).__name__
    came = came if len(came) < 80 else f"{came[:77]}..."
    return GuideError(f"{place}: expected {expected}, got {came}")
