"""What the JSON files of a guide's folder may hold: every field by type, range and depth.

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
            raise _wrong(place, f"a whole number from {low} to {high}", value)

    return check


def real(value: Any, place: str) -> None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= NUMBER:
        raise _wrong(place, "a finite number", value)


def loss(value: Any, place: str) -> None:
    """A number, or NaN or an infinity, as losses may be."""
    if not (isinstance(value, float) and not math.isfinite(value)):
        real(value, place)


def text(value: Any, place: str) -> None:
    """A string of at most 4,096 characters."""
    if not isinstance(value, str) or len(value) > 4096 or "\0" in value:
        raise _wrong(place, "a string of at most 4,096 characters", value)


def one_of(*allowed: Any) -> Kind:
    """One of some values."""

    def check(value: Any, place: str) -> None:
        if not any(type(value) is type(a) and value == a for a in allowed):
            raise _wrong(place, f"one of {', '.join(map(repr, allowed))}", value)

    return check


def either(*kinds: Kind) -> Kind:
    """Any of some kinds; the last says what is wrong."""

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
            raise _wrong(place, f"a list{size}", value)
        for number, each in enumerate(value):
            kind(each, f"{place}[{number}]")

    return check


def named(kind: Kind) -> Kind:
    """A JSON object whose values are of one kind."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(place, "a JSON object", value)
        for name, each in value.items():
            text(name, place)
            kind(each, f"{place}.{name[:40]}")

    return check


def fields(needed: dict[str, Kind], optional: dict[str, Kind] | None = None) -> Kind:
    """A JSON object with some fields; others, which a later version may add, are left alone."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(place, "a JSON object", value)
        for name, kind in needed.items():
            if name not in value:
                raise GuideError(f"{place}: the field {name!r} is missing")
            kind(value[name], f"{place}.{name}")
        for name, kind in (optional or {}).items():
            if name in value:
                kind(value[name], f"{place}.{name}")

    return check


def _wrong(place: str, expected: str, value: Any) -> GuideError:
    came = repr(value) if isinstance(value, int | float | str) else type(value).__name__
    came = came if len(came) < 80 else f"{came[:77]}..."
    return GuideError(f"{place}: expected {expected}, got {came}")


def row_range(value: Any, place: str) -> None:
    """The fewest and the most rows."""
    many(whole(1, 1 << 40), 2)(value, place)
    if value[0] > value[1]:
        raise _wrong(place, "the fewest rows, then the most", str(value))


SCALAR = either(one_of(True, False), one_of(None), text, whole(), real)

SHAPE = many(whole(0, 1 << 24))

TYPES = one_of(
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("bool", "float16", "bfloat16", "float32", "float64"),
)


def _input(value: Any, place: str) -> None:
    many(lambda *_: None, 2)(value, place)
    SHAPE(value[0], place)
    TYPES(value[1], place)
    if math.prod(value[0]) > 1 << 28 or len(value[0]) > 16:
        raise _wrong(place, "a shape of fewer numbers", str(value[0]))


HASH = text

GUIDE = fields(
    {
        "format": whole(0, 1 << 31),
        "amortppl": text,
        "method": fields(
            {"module": text, "file": text, "options": named(either(many(SCALAR), SCALAR))},
            {"revision": whole(0, 1 << 31)},
        ),
        "task": fields(
            {
                "module": text,
                "model": text,
                "file": text,
                "name": text,
                "rows": either(one_of(None), row_range),
                "fingerprint": HASH,
            },
            {"episodes": one_of(True, False), "says": named(many(real, 3))},
        ),
        "dims": named(many(text)),
        "coords": named(many(either(text, whole(), loss))),
        "observed": many(text),
        "inputs": named(_input),
        "seed": whole(),
        "hash": HASH,
    },
    {"certificate": HASH, "x64": one_of(True, False)},
)

CERTIFICATE = fields(
    {
        "ranges": fields(
            {"rows": row_range, "low": named(many(real)), "high": named(many(real))},
        ),
        "training": fields(
            {
                "losses": many(loss),
                "held_out": many(loss),
                **{n: whole(0) for n in ("steps", "unusable", "skipped", "tasks")},
                "seconds": real,
                "device": text,
            }
        ),
    },
    {
        "familiarity": fields(
            {
                **{n: many(many(real)) for n in ("moments", "directions")},
                **{n: many(real) for n in ("centre", "scale", "rows")},
                # of simulated tasks whose densities may overflow
                **{n: many(loss) for n in ("distances", "level", "spread")},
                "fits": many(many(loss)),
                "rest": real,
            }
        )
    },
)


def expect_sizes(certificate: dict[str, Any], sizes: dict[str, int], place: str) -> None:
    """Refuses ranges and moments whose lengths are not those of the task, or of one another.

    Args:
        sizes: numbers in a row of each argument.

    Raises:
        GuideError: naming the first that differs.
    """
    for end in ("low", "high"):
        for name, size in sizes.items():
            found = certificate["ranges"][end].get(name)
            if found is None or len(found) != size:
                raise _wrong(f"{place}: ranges.{end}.{name}", f"a list of {size}", found)
    known = certificate.get("familiarity")
    if known is None:
        return
    features, tasks = len(known["centre"]), len(known["rows"])
    discrepancies = len(known["level"])
    for name, length in {"scale": features, "distances": tasks, "spread": discrepancies}.items():
        many(loss, length)(known[name], f"{place}: familiarity.{name}")
    many(many(real, features))(known["directions"], f"{place}: familiarity.directions")
    if discrepancies:
        many(many(loss, discrepancies), tasks)(known["fits"], f"{place}: familiarity.fits")


STATE = fields(
    {
        "guide": HASH,
        "rows": whole(0),
        "steps": whole(0),
        "place": fields(
            {
                "source": text,
                **{n: whole(0) for n in ("passes", "rows")},
                "block": whole(1),
                "done": one_of(True, False),
            }
        ),
        "kinds": named(many(text)),
        "trace": many(
            fields({"rows": whole(0), "mean": named(lambda *_: None), "sd": named(lambda *_: None)})
        ),
        "outside": many(text),
    },
    {
        "sources": many(
            fields({"name": text, "size": whole(0), "head": text, "tail": text, "share": text})
        )
    },
)
