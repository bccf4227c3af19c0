"""Several posteriors side by side on one page: verdicts, differences in sds, and ELPDs."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from amortppl.errors import DataError
from amortppl.report import page
from amortppl.report.chain_checks import check_chains, is_of_chains, judge_chains
from amortppl.report.chain_figures import COLORS
from amortppl.report.figures import SMALL, blank_axes, data_uri
from amortppl.report.kernel_density import kernel_density
from amortppl.report.sections import LEVELS
from amortppl.report.summary import Summary, name_left_out, number, summaries, verdict_of
from amortppl.runtime.files import write

ROWS, PLOTS = 500, 24
"""Latents in the table, and with a figure, at most."""


def write_comparison(trees: Mapping[str, xr.DataTree], path: str | Path) -> Path:
    """Writes several posteriors side by side to an HTML file.

    Raises:
        DataError: one of them is of several datasets.
        OSError: the place cannot be written.
    """
    for name, tree in trees.items():
        if "task" in tree["posterior"].dims:
            raise DataError(
                f"{name}: expected the posterior of one dataset to be compared, got several along "
                "'task'"
            )
    latents = {n: {s.label: s for s in summaries(t["posterior"].dataset)} for n, t in trees.items()}
    parts = [_verdicts(trees), _differences(latents), _densities(latents), _scores(trees)]
    title = f"Posteriors side by side: {', '.join(trees)}"
    write(path, page.document(title, [p for p in parts if p]).encode())
    return Path(path)


def verdict_words(tree: xr.DataTree) -> str:
    """The verdict on a posterior, of whatever sampler."""
    return judge_chains(check_chains(tree))[0] if is_of_chains(tree) else verdict_of(tree)


def _verdicts(trees: Mapping[str, xr.DataTree]) -> str:
    words = {name: verdict_words(tree) for name, tree in trees.items()}
    kinds = [kind for kind in LEVELS if any(w.startswith(kind) for w in words.values())]
    counts = {k: sum(w.startswith(k) for w in words.values()) for k in kinds}
    headline = ", ".join(f"{n} {kind}" for kind, n in counts.items())
    lines = [f"{name}: {text}" for name, text in words.items()]
    return page.box(LEVELS[kinds[-1]], f"{len(words)} posteriors: {headline}", lines)


def _differences(latents: dict[str, dict[str, Summary]]) -> str:
    """Means and sds of the latents that all have, those first that differ most."""
    names, common = list(latents), _common(latents)
    if not common:
        return page.section("Latents", page.paragraph("They have no latent in common."))
    head = ["latent"]
    for name in names:
        head += [f"mean, {name}", f"sd, {name}"]
    for name in names[1:]:
        head += [f"difference in sds, {name}", f"ratio of sds, {name}"]
    rows, keys = [], []
    for label in common[:ROWS]:
        each = [latents[n][label] for n in names]
        cells, key = [label], [None]
        for s in each:
            cells += [number(s.mean, s.sd), number(s.sd, s.sd)]
            key += [s.mean, s.sd]
        for s in each[1:]:
            cells += [f"{difference(s, each[0]):+.2f}", f"{_ratio(s, each[0]):.2f}"]
            key += [difference(s, each[0]), _ratio(s, each[0])]
        rows.append(cells)
        keys.append([k if k is None or np.isfinite(k) else 1e30 for k in key])
    apart = max(abs(difference(latents[n][common[0]], latents[names[0]][common[0]])) for n in names)
    text = f"Differences are of means, in sds of {names[0]}; the largest is {apart:.2f}, of "
    return page.section(
        "Latents",
        page.paragraph(text + f"{common[0]}."),
        page.sortable("Latents of all posteriors", head, rows, keys, []),
        page.paragraph(name_left_out(len(common), ROWS, "latents")),
        page.paragraph(_only(latents)),
    )


def difference(one: Summary, other: Summary) -> float:
    """(mean of one - mean of the other) / sd of the other."""
    return (one.mean - other.mean) / other.sd if other.sd > 0 else float("nan")


def _ratio(one: Summary, other: Summary) -> float:
    return one.sd / other.sd if other.sd > 0 else float("nan")


def _common(latents: dict[str, dict[str, Summary]]) -> list[str]:
    """Labels that all have, those first that differ most from the first posterior."""
    first, *others = latents.values()
    shared = [label for label in first if all(label in o for o in others)]

    def apart(label: str) -> float:
        gaps = [abs(difference(o[label], first[label])) for o in others]
        return -float(np.nan_to_num(max(gaps, default=0.0)))

    return sorted(shared, key=apart)


def _only(latents: dict[str, dict[str, Summary]]) -> str:
    """How many latents each has that not all have."""
    common = set(_common(latents))
    counts = {n: len(each.keys() - common) for n, each in latents.items()}
    left = [f"{n} ({c})" for n, c in counts.items() if c]
    return f"Latents that not all have are left out: of {', '.join(left)}." if left else ""


def _densities(latents: dict[str, dict[str, Summary]]) -> str:
    labels = _common(latents)[:PLOTS]
    if not labels:
        return ""
    figures = [_overlay(label, {n: each[label] for n, each in latents.items()}) for label in labels]
    key = ", ".join(f"{_COLOR_WORDS[i % len(_COLOR_WORDS)]} {n}" for i, n in enumerate(latents))
    return page.section("Densities", page.paragraph(f"In {key}."), page.plots(figures))


_COLOR_WORDS = ("blue", "red", "green", "violet", "ochre", "grey", "pink", "turquoise")
"""Words for `COLORS`."""


def _overlay(label: str, each: dict[str, Summary]) -> str:
    figure, axes = blank_axes(SMALL)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for i, latent in enumerate(each.values()):
        axes.plot(*kernel_density(latent.draws), color=COLORS[i % len(COLORS)], linewidth=1.5)
    axes.set_ylim(0, None)
    words = ", ".join(
        f"{n} {number(s.mean, s.sd)} with sd {number(s.sd, s.sd)}" for n, s in each.items()
    )
    return page.figure(data_uri(figure), f"Posterior densities of {label}: means {words}.", label)


def _scores(trees: Mapping[str, xr.DataTree]) -> str:
    """ELPDs by leave-one-out, their differences from the best and the errors of these."""
    from arviz_stats import compare

    having = {n: t for n, t in trees.items() if "log_likelihood" in t.children}
    if len(having) < 2:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = compare(having)
    except (ValueError, TypeError, KeyError) as error:
        text = f"ELPDs could not be compared: {error}"
        return page.section("Predictions of rows left out", page.paragraph(text))
    scale = float(table["se"].iloc[0])
    rows = [
        [
            str(name),
            *(number(row[c], scale) for c in ("elpd", "se", "elpd_diff", "dse")),
            "; ".join(str(row[c]) for c in ("diag_elpd", "diag_diff") if row.get(c)) or "none",
        ]
        for name, row in table.iterrows()
    ]
    head = ["posterior", "ELPD", "its error", "difference from the best", "its error", "warning"]
    return page.section(
        "Predictions of rows left out",
        page.table("ELPD of each posterior", head, rows, words=[5]),
        page.paragraph(
            "Expected log predictive densities by leave-one-out; a difference of less than two of "
            "its errors decides nothing."
        ),
    )
