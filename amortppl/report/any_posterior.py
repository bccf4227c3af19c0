"""Reads the posterior of anyone's sampler, and refuses or leaves out what a report cannot show."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from amortppl.errors import DataError
from amortppl.report.netcdf import read_tree

ENTRIES = 20_000
"""Entries of all latents together that are read at most; further variables are left out."""


def read_posterior(posterior: Any, name: str = "posterior") -> xr.DataTree:
    """A tree with a group `posterior` of numbers along (chain, draw, ...).

    Args:
        posterior: a path to a NetCDF file, a DataTree, a Dataset or dict of draws, or a finished
            `numpyro.infer.MCMC`.
        name: what errors call it.

    Raises:
        DataError: no posterior, or none that can be shown; no draws.
        OSError: the file cannot be read.
    """
    tree = _tree(posterior, name)
    if "posterior" not in tree.children:
        groups = sorted(tree.children) or "no groups"
        raise DataError(f"{name}: expected a tree with a group 'posterior', got {groups}")
    dataset, notes = _shown(_with_chains(tree["posterior"].dataset, name), name)
    sets = {f"/{n}": group.dataset for n, group in tree.children.items()}
    if any(len(group.children) for group in tree.children.values()):
        notes.append("Groups inside of groups are not shown.")
    attributes = dict(tree.attrs) or dict(tree["posterior"].attrs)
    if notes:
        attributes["warnings"] = json.dumps([*_list_of(attributes.get("warnings")), *notes])
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes), **sets, "/posterior": dataset})


def _tree(posterior: Any, name: str) -> xr.DataTree:
    if isinstance(posterior, xr.DataTree):
        return posterior
    if isinstance(posterior, str | Path):
        return read_tree(posterior)
    if isinstance(posterior, xr.Dataset):
        return xr.DataTree.from_dict({"/posterior": posterior})
    if type(posterior).__module__.startswith("numpyro."):
        from arviz_base import from_numpyro

        return from_numpyro(posterior)
    if isinstance(posterior, Mapping):
        from arviz_base import from_dict

        groups = all(isinstance(v, Mapping) for v in posterior.values())
        return from_dict(dict(posterior) if groups else {"posterior": dict(posterior)})
    raise DataError(
        f"{name}: expected a NetCDF file, an xarray DataTree in ArviZ's schema, a dict of draws or "
        f"a numpyro MCMC, got {type(posterior).__name__}"
    )


def _with_chains(posterior: xr.Dataset, name: str) -> xr.Dataset:
    """Draws with both dimensions."""
    if "draw" not in posterior.dims:
        raise DataError(
            f"{name}: expected draws along 'chain' and 'draw', got the dimensions "
            f"{sorted(map(str, posterior.dims)) or 'none'}"
        )
    return posterior if "chain" in posterior.dims else posterior.expand_dims("chain")


def _shown(posterior: xr.Dataset, name: str) -> tuple[xr.Dataset, list[str]]:
    """The variables that a report shows, and what it says of the others."""
    kinds: dict[str, list[str]] = {}
    for label, values in posterior.data_vars.items():
        kinds.setdefault(_kind(values), []).append(str(label))
    words = {
        "complex": "are complex",
        "words": "are no numbers",
        "elsewhere": "do not lie along 'chain' and 'draw'",
        "empty": "have no entries",
    }
    notes = [
        f"Not shown, since they {text}: {', '.join(kinds[kind][:20])}."
        for kind, text in words.items()
        if kind in kinds
    ]
    if not kinds.get("numbers"):
        raise DataError(f"{name}: nothing to show in its group 'posterior'. {' '.join(notes)}")
    dataset = posterior[kinds["numbers"]]
    if dataset.sizes["chain"] * dataset.sizes["draw"] == 0:
        raise DataError(f"{name}: its group 'posterior' has no draws")
    dataset, cut = _cut(dataset)
    dataset = dataset.map(lambda v: v.astype(np.float64) if v.dtype.kind != "f" else v)
    return dataset.transpose(*_order(dataset)), notes + cut


def _order(dataset: xr.Dataset) -> list[Any]:
    """Dimensions, of which those of many datasets and of draws come first."""
    first = [d for d in ("task", "chain", "draw") if d in dataset.dims]
    return [*first, *(d for d in dataset.dims if d not in first)]


def _kind(values: xr.DataArray) -> str:
    if not {"chain", "draw"} <= set(values.dims):
        return "elsewhere"
    if not values.size:
        return "empty" if values.sizes["chain"] * values.sizes["draw"] else "numbers"
    return {"c": "complex"}.get(
        values.dtype.kind, "numbers" if values.dtype.kind in "biuf" else "words"
    )


def _cut(dataset: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """The smallest variables, as many as have at most `ENTRIES` entries together."""
    draws = dataset.sizes["chain"] * dataset.sizes["draw"] * dataset.sizes.get("task", 1)
    sizes = {n: v.size // draws for n, v in dataset.data_vars.items()}
    kept, total = [], 0
    for name in sorted(sizes, key=lambda n: sizes[n]):
        total += sizes[name]
        if total <= ENTRIES or not kept:
            kept.append(name)
    left = [str(n) for n in sizes if n not in kept]
    if not left:
        return dataset, []
    text = f"Not shown, since they have more than {ENTRIES:,} entries: {', '.join(left[:20])}."
    return dataset[[n for n in dataset.data_vars if n in kept]], [text]


def _list_of(words: Any) -> list[str]:
    """The warnings that a file of this library has; none where the attribute is something else."""
    try:
        told = json.loads(words or "[]")
    except (TypeError, ValueError):
        return []
    return [str(w) for w in told] if isinstance(told, list) else []
