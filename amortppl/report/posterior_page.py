"""A posterior as one HTML page that loads nothing.

Verdict, posterior, checks, data, model, training and versions, one section each.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from amortppl.report import chain_sections, page
from amortppl.report.chain_checks import check_chains, is_of_chains
from amortppl.report.loo_section import loo_section
from amortppl.report.many_datasets import (
    OPENED,
    by_latent,
    datasets,
    fold_datasets,
    not_trusted,
    verdicts,
)
from amortppl.report.predictive_checks import predictive_check
from amortppl.report.prior_section import prior_section
from amortppl.report.provenance import data, model, provenance, training
from amortppl.report.regression import (
    is_regression,
    named_as_in_formula,
    regression_sections,
    table_section,
)
from amortppl.report.sections import (
    LEVELS,
    ROWS,
    comparison,
    overview,
    posteriors,
    trust,
    verdict_box,
)
from amortppl.report.stream_section import growth_section
from amortppl.report.summary import name_left_out, summaries, warnings_of
from amortppl.runtime.files import write

NOTES = 50
"""Warnings that a page shows at most."""


def write_report(tree: xr.DataTree, path: str | Path) -> Path:
    """Writes the report of what `guide.infer` returned.

    Args:
        tree: groups `posterior` and `sample_stats`, the others as far as they are there; a group
            `reference_posterior` (for example by NUTS) is compared with the guide's.
        path: the HTML file; it is replaced in one move.

    Returns:
        The path.

    Raises:
        ValueError: the tree has no posterior.
        OSError: the place cannot be written.
    """
    if "posterior" not in tree.children:
        raise ValueError(
            f"report: expected a tree with a group 'posterior', got "
            f"{sorted(tree.children) or 'no groups'}"
        )
    if is_of_chains(tree):
        parts = _of_chains(tree)
    else:
        parts = _several(tree) if "task" in tree["posterior"].dims else _one(tree)
        learned = "" if is_regression(tree) else training(warnings_of(tree, "training", {}))
        parts += [model(tree), learned, provenance(tree)]
    title = f"Posterior of {tree.attrs.get('model', 'a model')}"
    write(path, page.document(title, [p for p in parts if p]).encode())
    return Path(path)


def _of_chains(tree: xr.DataTree) -> list[str]:
    """The sections of the posterior of another sampler."""
    checks, latents = check_chains(tree), summaries(tree["posterior"].dataset)
    return [
        chain_sections.verdict_box(tree, checks),
        chain_sections.overview(tree, checks),
        chain_sections.posterior_section(tree, latents, checks),
        _try("The chains", lambda: chain_sections.by_chain(tree, checks)),
        _try("Pairs of the worst", lambda: chain_sections.pairs(tree, checks)),
        _try("Prior and posterior", lambda: prior_section(tree, latents)),
        _try("Does the model reproduce the data?", lambda: _predicted(tree)),
        _try("Rows left out one by one", lambda: loo_section(tree)),
        _try("The data", lambda: data(tree)),
    ]


def _predicted(tree: xr.DataTree) -> str:
    return page.section("Does the model reproduce the data?", *predictive_check(tree))


def _try(title: str, make: Callable[[], str]) -> str:
    """A section; where a file of another program is not as the schema says, why there is none."""
    try:
        return make()
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError) as error:
        reason = f"This part of the file could not be shown ({type(error).__name__}: {error})."
        return page.section(title, page.paragraph(reason[:500]))


def _one(tree: xr.DataTree) -> list[str]:
    """The sections of one dataset."""
    latents = summaries(named_as_in_formula(tree))
    reference = (
        summaries(tree["reference_posterior"].dataset)
        if "reference_posterior" in tree.children
        else []
    )
    return [
        verdict_box(tree),
        overview(tree),
        posteriors(latents, reference),
        *regression_sections(tree),
        growth_section(tree),
        comparison(tree, latents, reference),
        _predicted(tree),
        prior_section(tree, latents),
        loo_section(tree),
        trust(tree, latents),
        table_section(tree) or data(tree),
    ]


def _several(tree: xr.DataTree) -> list[str]:
    """The sections of many datasets: a table, and the one with the largest k-hat in detail."""
    khats = np.atleast_1d(np.asarray(tree["sample_stats"]["khat"], float))
    words = verdicts(tree)
    counts = {kind: sum(w.startswith(kind) for w in words) for kind in LEVELS}
    level = [LEVELS[kind] for kind, n in counts.items() if n][-1]
    headline = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
    usable = counts["good"] + counts["usable"]
    order = np.argsort(np.where(np.isfinite(khats), -khats, -np.inf), kind="stable")
    notes, worst = warnings_of(tree, "warnings", []), int(order[0])
    detail = _one(_pick(tree, worst))
    about = page.paragraph("The dataset with the largest k-hat; what follows is about it alone.")
    more = [f"{len(notes) - NOTES} further warnings left out"] if len(notes) > NOTES else []
    left = page.paragraph(name_left_out(len(khats), ROWS, "datasets"))
    return [
        page.box(
            level, f"{len(khats)} datasets: {headline}", [f"{usable} of {len(khats)} can be used."]
        ),
        not_trusted(tree, order, words),
        by_latent(tree, words),
        page.section("All datasets", datasets(tree, order[:ROWS], words), left),
        page.section("Warnings", _fold_notes(notes[:NOTES] + more)) if notes else "",
        page.section("Plots by dataset", *fold_datasets(tree, order[:OPENED], _pick)),
        page.section(f"Task {worst} in detail", about, *detail[:2]),
        *detail[2:],
    ]


def _fold_notes(notes: list[str]) -> str:
    """Warnings of all datasets, folded away."""
    return page.foldable("warnings", f"{len(notes)} warnings", *map(page.paragraph, notes))


def _pick(tree: xr.DataTree, task: int) -> xr.DataTree:
    """The tree of one dataset among several, without the warnings, which the list of all has."""
    sets = {n: g.dataset for n, g in tree.children.items()}
    picked = {
        f"/{n}": d.isel(task=task, drop=True) if "task" in d.dims else d for n, d in sets.items()
    }
    return xr.DataTree.from_dict(
        {"/": xr.Dataset(attrs={**tree.attrs, "warnings": "[]"}), **picked}
    )
