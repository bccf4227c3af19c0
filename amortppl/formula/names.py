"""Names of a program's arguments, and of the axes of its sites."""

import keyword
import re
from itertools import pairwise
from typing import Any

from amortppl.formula.design import Group
from amortppl.formula.program import Parts

TAKEN = {"x", "offset", "trials", "limit", "weights", "row", "eta", "mean", "coefficient"}
TAKEN |= {"jax", "jnp", "numpyro", "dist", "model", "at_means", "sigma", "shape", "precision"}
TAKEN |= {"COLUMNS", "CENTRES", "UNITS", "shares", "below", "above", "cutpoints", "freedom"}
TAKEN |= {"concentration", "zero_probability", "Intercept", "threshold", "level_share"}
"""Names in the program that no outcome may have."""


def argument_named(text: str) -> str:
    """The name of the outcome's argument.

    >>> argument_named("log(price)")
    'log_price'
    """
    name = re.sub(r"\W+", "_", text).strip("_") or "outcome"
    name = f"outcome_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name
    return f"{name}_outcome" if name in TAKEN else name


def labels_of(parts: Parts) -> tuple[dict[str, list[str]], dict[str, list[Any]]]:
    """Names of axes by site, and labels by axis."""
    dims: dict[str, list[str]] = {}
    coords: dict[str, list[Any]] = {}
    levels = list(parts.outcome.levels)
    if parts.design.columns:
        dims |= {"coefficient": ["column"], "x": ["column"]}
        coords["column"] = list(parts.design.columns)
    if parts.family == "categorical":
        dims |= {"coefficient": ["level", "column"], "Intercept": ["level"]}
        dims["intercept_at_means"] = ["level"]
        coords["level"] = levels[1:]
    if parts.family == "ordinal":
        dims |= {"threshold": ["threshold_between"], "level_share": ["level"]}
        pairs = pairwise(levels)
        coords |= {"level": levels, "threshold_between": [f"{a} | {b}" for a, b in pairs]}
    for group in parts.design.groups:
        name, term = group.name, f"{group.name}_term"
        dims |= {f"{name}_sd": [term], f"{name}_effect": [name, term]}
        dims |= {f"{name}_standard": [name, term], f"{name}_x": [term]}
        dims[f"{name}_correlation"] = [term, f"{term}_other"]
        coords |= {name: list(group.levels), term: list(group.terms)}
        coords[f"{term}_other"] = list(group.terms)
    return dims, coords


def entries_shown(parts: Parts) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What a table shows: a label, the site and the place in it, by label."""
    shown: dict[str, tuple[str, tuple[int, ...]]] = {}
    levels = parts.outcome.levels[1:] if parts.family == "categorical" else ()
    if parts.priors.intercept is not None:
        shown |= _by_level("Intercept", "Intercept", (), levels)
    for place, name in enumerate(parts.design.columns):
        shown |= _by_level(name, "coefficient", (place,), levels)
    if parts.family == "ordinal":
        names = labels_of(parts)[1]["threshold_between"]
        shown |= {f"threshold {n}": ("threshold", (i,)) for i, n in enumerate(names)}
    for group in parts.design.groups:
        shown |= _of_group(group)
    return shown | {n: (n, ()) for n in parts.priors.parameters}


def _by_level(
    label: str, site: str, place: tuple[int, ...], levels: tuple[str, ...]
) -> dict[str, tuple[str, tuple[int, ...]]]:
    if not levels:
        return {label: (site, place)}
    return {f"{label} ({level})": (site, (i, *place)) for i, level in enumerate(levels)}


def _of_group(group: Group) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Standard deviations and correlations of a group's effects."""
    terms = ["1" if t == "Intercept" else t for t in group.terms]
    shown: dict[str, tuple[str, tuple[int, ...]]] = {
        f"sd {t}|{group.factor}": (f"{group.name}_sd", (i,)) for i, t in enumerate(terms)
    }
    if group.correlated:
        shown |= {
            f"correlation {terms[i]}, {terms[j]}|{group.factor}": (
                f"{group.name}_correlation",
                (i, j),
            )
            for i in range(len(terms))
            for j in range(i + 1, len(terms))
        }
    return shown
