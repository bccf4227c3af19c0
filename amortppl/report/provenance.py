"""Sections of a report about what the posterior comes from: data, model, training, versions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.summary import MOMENTS, label_latents, name_left_out, number, warnings_of

COLUMNS = 100
"""Columns of the data that a page shows at most."""


def data(tree: xr.DataTree) -> str:
    """Each column of the data: its role, size and summary."""
    rows = [
        [label, role, str(len(values)), *_summary(values)] for label, role, values in _columns(tree)
    ]
    table = page.table(
        "The data by column", ["column", "role", "values", *MOMENTS], rows[:COLUMNS], words=[1]
    )
    return page.section(
        "The data", table, page.paragraph(name_left_out(len(rows), COLUMNS, "columns"))
    )


def _summary(values: np.ndarray) -> list[str]:
    """Moments of numbers; of labels how many there are."""
    if values.dtype.kind not in "biuf":
        return [f"{len(np.unique(values))} labels", *[""] * (len(MOMENTS) - 1)]
    return [number(f(values), float(np.std(values)) or None) for f in MOMENTS.values()]


def _columns(tree: xr.DataTree) -> Iterator[tuple[str, str, np.ndarray]]:
    for group, role in (("observed_data", "observation"), ("constant_data", "input")):
        if group not in tree.children:
            continue
        dataset = tree[group].dataset
        for name, values in dataset.data_vars.items():
            for label, column in label_latents(dataset[[name]], set(values.dims[:1])):
                flat = np.ravel(column)
                if flat.dtype.kind not in "biuf":
                    yield label, role, flat.astype(str)
                    continue
                flat = flat.astype(float)
                if np.isfinite(flat).any():
                    yield label, role, flat[np.isfinite(flat)]


def model(tree: xr.DataTree) -> str:
    """The model's program text."""
    return page.section(
        "The model", page.source("The model", str(tree.attrs.get("model_source", "")))
    )


def training(about: dict[str, Any]) -> str:
    """How the guide was trained: sizes, time, device, and the losses."""
    span, seconds = about.get("rows"), about.get("seconds")
    facts = [
        ("method", str(about.get("method", ""))),
        ("updates", str(about.get("steps", ""))),
        ("simulated datasets", f"{about['tasks']:,}" if "tasks" in about else ""),
        ("rows trained for", f"{span[0]} to {span[1]}" if span else ""),
        ("seconds", f"{seconds:.0f}" if seconds is not None else ""),
        ("device", str(about.get("device", ""))),
        ("datasets unusable", str(about.get("unusable", ""))),
        ("updates skipped", str(about.get("skipped", ""))),
    ]
    options = "; ".join(
        f"{name} {_words(value)}" for name, value in about.get("options", {}).items()
    )
    words = page.paragraph(f"Options: {options}." if options else "")
    return page.section("How the guide was trained", page.facts(facts), words, _losses(about))


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _losses(about: dict[str, Any]) -> str:
    losses, held_out = about.get("loss") or [], about.get("held_out") or []
    if len(losses) < 2 or not held_out:
        return ""
    span = f"from {number(held_out[0])} to {number(held_out[-1])}"
    alt = f"Loss over {about['steps']} updates; on held-out tasks it goes {span}."
    caption = (
        "Lower is better; the level has no meaning of its own. "
        "Held-out tasks are never learned from."
    )
    return page.figure(
        figures.losses(losses, held_out, int(about["steps"])), alt, caption, wide=True
    )


def provenance(tree: xr.DataTree) -> str:
    """Versions, seed and hashes."""
    about = tree.attrs
    own = (str(about.get("inference_library", "")), str(about.get("inference_library_version", "")))
    versions = [(name, str(v)) for name, v in warnings_of(tree, "versions", {}).items()]
    marks = [("seed", "seed"), ("guide", "guide_hash"), ("task", "task_fingerprint")]
    facts = [own, *versions, *((n, str(about.get(key, ""))) for n, key in marks)]
    return page.section("Versions and seed", page.facts(facts), _time_spent(tree))


def _time_spent(tree: xr.DataTree) -> str:
    """Seconds of the inference, and of its stages (`amortppl.runtime.timings`)."""
    spent = warnings_of(tree, "timings", {})
    if not spent:
        return ""
    stages = ("tracing", "lowering", "compiling", "loading", "running")
    parts = ", ".join(f"{stage} {spent[stage]:.2g} s" for stage in stages)
    programs = f"{spent['compiled']} programs compiled, {spent['loaded']} loaded from the cache"
    return page.paragraph(f"Inferred in {spent['seconds']:.2g} s: {parts}; {programs}.")
