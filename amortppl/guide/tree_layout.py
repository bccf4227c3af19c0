"""Variables, coordinates and attributes of a DataTree in ArviZ's schema."""

import json
import platform
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from amortppl.errors import DataError, quoted
from amortppl.training.trained import TrainedMethod

Variable = tuple[list[str], np.ndarray]
"""Axis names and values."""


def by_task(values: np.ndarray, single: bool) -> Variable:
    """One value for each task, (T,)."""
    return ([], values[0]) if single else (["task"], values)


def by_task_and_rung(values: np.ndarray, single: bool) -> Variable:
    """One value for each task, (T,), or one for each task and rung of the ladder, (T, R)."""
    axes = ["rung"] * (values.ndim - 1)
    return (axes, values[0]) if single else (["task", *axes], values)


def with_draws(values: Sequence[np.ndarray], axes: list[str], single: bool) -> Variable:
    """Draws (S, ...) of each task along the axes (task, chain, draw, ...)."""
    if single:
        return ["chain", "draw", *axes], _unblock(values[0], axes, 1)[None]
    padded = _pad([_unblock(v, axes, 1) for v in values], 1)
    return ["task", "chain", "draw", *axes], padded[:, None]


def without_draws(values: Sequence[np.ndarray], axes: list[str], single: bool) -> Variable:
    """Arrays of each task along the axes (task, ...)."""
    if single:
        return axes, _unblock(values[0], axes, 0)
    return ["task", *axes], _pad([_unblock(v, axes, 0) for v in values], 0)


def _unblock(values: np.ndarray, axes: list[str], lead: int) -> np.ndarray:
    """Drops the axis of one row that the engine gives to a block."""
    return np.squeeze(values, lead) if values.ndim == lead + len(axes) + 1 else values


def _pad(values: list[np.ndarray], axis: int) -> np.ndarray:
    """Stacks arrays whose rows differ in number, NaN behind the shorter."""
    if len({v.shape for v in values}) == 1:
        return np.stack(values)
    most = max(v.shape[axis] for v in values)

    def fill(value: np.ndarray) -> np.ndarray:
        shape = list(value.shape)
        shape[axis] = most - shape[axis]
        return np.concatenate([value, np.full(shape, np.nan)], axis)

    return np.stack([fill(v) for v in values])


@cache
def _versions() -> dict[str, str]:
    """Versions of the packages. Kept: reading them takes as long as predicting for a few rows."""
    return {p: version(p) for p in ("amortppl", "jax", "numpyro", "arviz")} | {
        "python": platform.python_version()
    }


def attributes(guide: TrainedMethod, seed: int, notes: Sequence[str]) -> dict[str, Any]:
    """The attributes of a tree: where it comes from, the seed, and the notes as warnings."""
    return {
        "inference_library": "amortppl",
        "inference_library_version": _versions()["amortppl"],
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": guide.task.name,
        "model_source": guide.task.source_code(),
        "task_fingerprint": guide.task.fingerprint,
        "guide_hash": guide.hash,
        "training": json.dumps(guide.training()),
        "seed": seed,
        "warnings": json.dumps(list(notes)),
        "versions": json.dumps(_versions()),
    }


def assemble(
    groups: Mapping[str, Mapping[str, Variable]],
    coords: Mapping[str, Sequence[Any]],
    about: dict[str, Any],
) -> xr.DataTree:
    """The tree of groups of variables; empty groups are left out.

    Args:
        groups: variables by name, by group; of a name `scope/site` the slash becomes a point.
        coords: labels by axis.
        about: what `attributes` returned.

    Warns:
        UserWarning: labels of an axis that are not as many as its entries.
    """
    groups = {g: _apart_from_axes(_without_slashes(v)) for g, v in groups.items()}
    coords = {axis.replace("/", "."): labels for axis, labels in coords.items()}
    brief = {k: about[k] for k in ("inference_library", "inference_library_version", "created_at")}
    sets = {
        f"/{group}": xr.Dataset(variables, coords=_labels(variables, coords), attrs=brief)
        for group, variables in groups.items()
        if variables
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=about), **sets})


def _without_slashes(variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """`scope/site` as `scope.site`: in a DataTree a slash divides groups.

    Raises:
        DataError: two sites would have one name.
    """
    plain = {n.replace("/", "."): v for n, v in variables.items()}
    if len(plain) < len(variables):
        raise DataError(
            f"sites: two of {quoted(variables)} differ in '/' and '.' alone, and have one name in "
            "the posterior; name one otherwise"
        )
    return {n: ([a.replace("/", ".") for a in axes], v) for n, (axes, v) in plain.items()}


def _apart_from_axes(variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """`county_index` for the index of each row's county, beside a value along the axis `county`:
    xarray gives that name to the labels.
    """
    axes = {a for own, _ in variables.values() for a in own}
    return {f"{n}_index" if n in axes and list(v[0]) != [n] else n: v for n, v in variables.items()}


def _labels(
    variables: Mapping[str, Variable], coords: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """Labels along every axis of the variables, numbers where none fit."""
    sizes: dict[str, int] = {}
    for axes, values in variables.values():
        sizes |= zip(axes, np.shape(values), strict=True)
    wrong = [a for a, size in sizes.items() if a in coords and len(coords[a]) != size]
    if wrong:
        axis = wrong[0]
        warnings.warn(
            f"coords: {axis!r} has {len(coords[axis])} labels for {sizes[axis]} entries; left out",
            stacklevel=5,
        )
    labels = {a: list(coords[a]) for a in sizes if a in coords and a not in wrong}
    return labels | {a: np.arange(size) for a, size in sizes.items() if a not in labels}
