"""What the JSON files of a guide's folder may hold: every field by type, range and depth."""

import math
from typing import Any

from amortppl.runtime.json_kinds import (
    either,
    fields,
    loss,
    many,
    named,
    one_of,
    real,
    text,
    whole,
    wrong,
)


def row_range(value: Any, place: str) -> None:
    """The fewest and the most rows."""
    many(whole(1, 1 << 40), 2)(value, place)
    if value[0] > value[1]:
        raise wrong(place, "the fewest rows, then the most", str(value))


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
        raise wrong(place, "a shape of fewer numbers", str(value[0]))


HASH = text

GROUPS = fields({"index": text, "groups": row_range, "rows": row_range, "whole": many(text)})

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
            {
                "episodes": one_of(True, False),
                "says": named(many(real, 3)),
                "groups": GROUPS,
                "groupings": named(row_range),
                "nested": named(text),
                "ordered": either(one_of(True), text),
            },
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
            limits = certificate["ranges"][end].get(name)
            if limits is None or len(limits) != size:
                raise wrong(f"{place}: ranges.{end}.{name}", f"a list of {size}", limits)
    familiarity = certificate.get("familiarity")
    if familiarity is None:
        return
    features, tasks = len(familiarity["centre"]), len(familiarity["rows"])
    discrepancies = len(familiarity["level"])
    for name, length in {"scale": features, "distances": tasks, "spread": discrepancies}.items():
        many(loss, length)(familiarity[name], f"{place}: familiarity.{name}")
    many(many(real, features))(familiarity["directions"], f"{place}: familiarity.directions")
    if discrepancies:
        many(many(loss, discrepancies), tasks)(familiarity["fits"], f"{place}: familiarity.fits")
