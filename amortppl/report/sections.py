"""Sections of a report about the posterior itself: verdict, numbers, densities, comparison,
trust.
"""

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.summary import (
    CREDIBLE,
    Summary,
    name_left_out,
    number,
    statistic,
    verdict_of,
    warnings_of,
)
from amortppl.trust.psis import GOOD, USABLE

ROWS, PLOTS = 200, 24
"""Rows of a table, and small figures, that a page shows at most."""

LEVELS = {"good": "good", "usable": "care", "not reliable": "bad", "not checked": "bad"}
"""Colour of each verdict, by its first words, the best first."""

SHARE = f"{100 * CREDIBLE:.0f}%"

EXPLAINED = (
    "k-hat compares the guide's draws with the model itself. Each draw has an importance weight, "
    "the model's joint "
    "density divided by the guide's; k-hat is the shape of the generalised Pareto distribution "
    "fitted to the largest "
    f"weights (Vehtari et al. 2024). Below {GOOD} the weights have finite variance and the guide "
    f"covers the posterior; "
    f"up to {USABLE} reweighting by the smoothed weights is reliable; above it the guide misses "
    f"part of the posterior. "
    "k-hat sees only where the guide puts draws: a mode that no draw reaches stays unseen."
)


def verdict_box(tree: xr.DataTree) -> str:
    """The verdict on one posterior in plain words, and the warnings."""
    notes = warnings_of(tree, "warnings", [])
    said = (
        "not checked: there is no k-hat here"
        if statistic(tree, "khat", None) is None
        else verdict_of(tree)
    )
    khat = statistic(tree, "khat")
    level = next(colour for kind, colour in LEVELS.items() if said.startswith(kind))
    headline = said[0].upper() + said[1:] + (f" (k-hat {khat:.2f})" if not np.isnan(khat) else "")
    hint = (
        ["There are warnings: read them before you use this posterior."]
        if notes and level == "good"
        else []
    )
    return page.box(level, headline, hint) + (page.box("care", "Warnings", notes) if notes else "")


def overview(tree: xr.DataTree) -> str:
    """The numbers one asks for first."""
    khat, size, rows = (statistic(tree, n) for n in ("khat", "importance_sample_size", "rows"))
    sizes = tree["posterior"].sizes
    return page.facts(
        [
            ("rows of data", number(rows) if np.isfinite(rows) else ""),
            ("draws", str(sizes["chain"] * sizes["draw"])),
            ("k-hat", f"{khat:.2f}" if not np.isnan(khat) else ""),
            ("importance sample size", f"{size:.0f}" if np.isfinite(size) else ""),
            ("draws are", str(statistic(tree, "source", ""))),
            ("made", str(tree.attrs.get("created_at", "")).replace("T", " ")[:16]),
        ]
    )


def posteriors(latents: list[Summary], reference: list[Summary]) -> str:
    """Moments and interval of each latent, and its marginal density."""
    rows = [
        [s.label, *(number(v, s.sd) for v in (s.mean, s.sd, s.low, s.high))] for s in latents[:ROWS]
    ]
    others = {r.label: r for r in reference}
    lines = f"Marginal densities; the shade holds {SHARE} of the probability." + (
        " Dashed: the reference." if reference else ""
    )
    return page.section(
        "Posterior",
        page.table(
            "Posterior of each latent",
            ["latent", "mean", "sd", f"{SHARE} from", f"{SHARE} to"],
            rows,
        ),
        page.paragraph(name_left_out(len(latents), ROWS, "latents")),
        page.paragraph(lines),
        page.plots([_density(s, others.get(s.label)) for s in latents[:PLOTS]]),
        page.paragraph(name_left_out(len(latents), PLOTS, "latents", "without a figure")),
    )


def _density(latent: Summary, other: Summary | None) -> str:
    mean, sd, low, high = (number(v, latent.sd) for v in latent[1:5])
    alt = f"Posterior density of {latent.label}: mean {mean}, sd {sd}, {SHARE} between {low} and {high}."
    if other:
        alt += f" Reference, dashed: mean {number(other.mean, other.sd)}, sd {number(other.sd, other.sd)}."
    return page.figure(
        figures.density(latent.draws, other.draws if other else None), alt, latent.label
    )


def comparison(tree: xr.DataTree, latents: list[Summary], reference: list[Summary]) -> str:
    """The guide's moments beside those of a reference; nothing without one."""
    guide = {s.label: s for s in latents}
    pairs = [(guide[r.label], r) for r in reference if r.label in guide and r.sd > 0]
    if not pairs:
        return ""
    about = tree["reference_posterior"].attrs
    name = str(about.get("method", "the reference"))
    off, ratio = [(g.mean - r.mean) / r.sd for g, r in pairs], [g.sd / r.sd for g, r in pairs]
    said = f"Means differ by at most {max(map(abs, off)):.2f} standard deviations; the guide's sds are "
    said += f"{min(ratio):.2f} to {max(ratio):.2f} times those of {name}."
    if "seconds" in about:
        said += f" {name} took {number(about['seconds'])} s"
        said += (
            f"; the guide, once trained, {number(about['guide_seconds'])} s."
            if "guide_seconds" in about
            else "."
        )
    rows = [
        [
            g.label,
            number(g.mean, r.sd),
            number(r.mean, r.sd),
            f"{d:+.2f}",
            number(g.sd, r.sd),
            number(r.sd, r.sd),
            f"{q:.2f}",
        ]
        for (g, r), d, q in zip(pairs, off, ratio, strict=True)
    ]
    head = [
        "latent",
        "mean, guide",
        f"mean, {name}",
        "difference in sds",
        "sd, guide",
        f"sd, {name}",
        "ratio of sds",
    ]
    table = page.table(f"Guide and {name}", head, rows[:ROWS])
    return page.section(
        f"Compared with {name}",
        page.paragraph(said),
        table,
        page.paragraph(name_left_out(len(pairs), ROWS, "latents")),
    )


def trust(tree: xr.DataTree, latents: list[Summary]) -> str:
    """What importance weights say of the guide, and what k-hat is."""
    khat, size, draws = (
        statistic(tree, "khat"),
        statistic(tree, "importance_sample_size"),
        len(latents[0].draws),
    )
    if not np.isfinite(khat):
        return ""
    said = f"k-hat is {khat:.2f}."
    if np.isfinite(size):
        said += f" The {draws} draws are worth {size:.0f} after importance weighting ({100 * size / draws:.0f}%)."
    if "log_weight" in tree["sample_stats"]:
        weights = np.exp(np.asarray(tree["sample_stats"]["log_weight"], float).ravel())
        moved = [
            (abs(weights @ s.draws / weights.sum() - s.mean) / s.sd, s.label)
            for s in latents
            if s.sd > 0
        ]
        most, label = max(moved, default=(0.0, "none"))
        said += f" Reweighting moves no mean by more than {most:.2f} standard deviations (most: {label})."
    return page.section(
        "Can the guide be trusted here?", page.paragraph(said), page.paragraph(EXPLAINED)
    )
