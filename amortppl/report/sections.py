"""Sections of a report about the posterior itself.

Verdict, numbers, marginal densities, comparison with a reference, and trust.
"""

from typing import Any

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

LEVELS = {
    "good": "good",
    "usable": "care",
    "not reliable": "bad",
    "not checked": "bad",
    "not compared": "bad",
}
"""Colour of each verdict, by its first words, the best first."""

SHARE = f"{100 * CREDIBLE:.0f}%"

EXPLANATION = (
    "k-hat compares the draws with the model itself. Each draw has an importance weight, the "
    "model's joint density divided by the density that it was drawn from; k-hat is the shape of "
    "the generalised Pareto distribution fitted to the largest weights (Vehtari et al. 2024). "
    f"Below {GOOD} the weights have finite variance and the draws cover the posterior; "
    f"up to {USABLE} reweighting by the smoothed weights is reliable; "
    "above it the draws miss part of the posterior. "
    "k-hat sees only where there are draws: a mode that no draw reaches stays unseen."
)


def verdict_box(tree: xr.DataTree) -> str:
    """The verdict on one posterior in words, and the warnings."""
    notes = warnings_of(tree, "warnings", [])
    level, headline = _headline(tree)
    if not notes:
        return page.box(level, headline)
    hint = ["There are warnings: read them before you use this posterior."]
    box = page.box(level, headline, hint if level == "good" else [])
    return box + page.box("care", "Warnings", notes)


def _headline(tree: xr.DataTree) -> tuple[str, str]:
    """The level of a verdict (a value of `LEVELS`) and the verdict itself."""
    khat, verdict = statistic(tree, "khat"), verdict_of(tree)
    level = next(colour for kind, colour in LEVELS.items() if verdict.startswith(kind))
    value = "" if np.isnan(khat) else f" (k-hat {khat:.2f})"
    return level, verdict[0].upper() + verdict[1:] + value


def overview(tree: xr.DataTree) -> str:
    """Sizes, k-hat, importance sample size, and how and when the draws were made."""
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
    lines = f"Marginal densities; the shade holds {SHARE} of the probability."
    lines += " Dashed: the reference." if reference else ""
    head = ["latent", "mean", "sd", f"{SHARE} from", f"{SHARE} to"]
    return page.section(
        "Posterior",
        page.table("Posterior of each latent", head, rows),
        page.paragraph(name_left_out(len(latents), ROWS, "latents")),
        page.paragraph(lines),
        page.plots([_density(s, others.get(s.label)) for s in latents[:PLOTS]]),
        page.paragraph(name_left_out(len(latents), PLOTS, "latents", "without a figure")),
    )


def _density(latent: Summary, other: Summary | None) -> str:
    mean, sd, low, high = (number(v, latent.sd) for v in latent[1:5])
    alt = f"Posterior density of {latent.label}: mean {mean}, sd {sd}, "
    alt += f"{SHARE} between {low} and {high}."
    if other:
        mean, sd = (number(v, other.sd) for v in (other.mean, other.sd))
        alt += f" Reference, dashed: mean {mean}, sd {sd}."
    uri = figures.density(latent.draws, other.draws if other else None)
    return page.figure(uri, alt, latent.label)


def comparison(tree: xr.DataTree, latents: list[Summary], reference: list[Summary]) -> str:
    """The guide's moments beside those of a reference; nothing without one."""
    guide = {s.label: s for s in latents}
    pairs = [(guide[r.label], r) for r in reference if r.label in guide and r.sd > 0]
    if not pairs:
        return ""
    about = tree["reference_posterior"].attrs
    name = str(about.get("method", "the reference"))
    head = ["latent", "mean, guide", f"mean, {name}", "difference in sds"]
    head += ["sd, guide", f"sd, {name}", "ratio of sds"]
    rows = [_compare(g, r) for g, r in pairs[:ROWS]]
    return page.section(
        f"Compared with {name}",
        page.paragraph(_summarize(pairs, name) + _times(about, name)),
        page.table(f"Guide and {name}", head, rows),
        page.paragraph(name_left_out(len(pairs), ROWS, "latents")),
    )


def _compare(guide: Summary, reference: Summary) -> list[str]:
    """A row: means and their difference in sds of the reference, sds and their ratio."""
    scale = reference.sd
    means = [number(s.mean, scale) for s in (guide, reference)]
    sds = [number(s.sd, scale) for s in (guide, reference)]
    difference = f"{(guide.mean - reference.mean) / scale:+.2f}"
    return [guide.label, *means, difference, *sds, f"{guide.sd / scale:.2f}"]


def _summarize(pairs: list[tuple[Summary, Summary]], name: str) -> str:
    """The largest difference of means, and the range of the ratios of sds."""
    most = max(abs(g.mean - r.mean) / r.sd for g, r in pairs)
    ratio = [g.sd / r.sd for g, r in pairs]
    return (
        f"Means differ by at most {most:.2f} standard deviations; the guide's sds are "
        f"{min(ratio):.2f} to {max(ratio):.2f} times those of {name}."
    )


def _times(about: dict[str, Any], name: str) -> str:
    """How long the reference and the guide took, where that is there."""
    if "seconds" not in about:
        return ""
    text = f" {name} took {number(about['seconds'])} s"
    if "guide_seconds" not in about:
        return text + "."
    return f"{text}; the guide, once trained, {number(about['guide_seconds'])} s."


def trust(tree: xr.DataTree, latents: list[Summary]) -> str:
    """What importance weights tell of the guide, and what k-hat is; nothing without k-hat."""
    khat, size = statistic(tree, "khat"), statistic(tree, "importance_sample_size")
    if not np.isfinite(khat):
        return ""
    text, draws = f"k-hat is {khat:.2f}.", len(latents[0].draws)
    if np.isfinite(size):
        text += f" The {draws} draws are worth {size:.0f} after importance weighting "
        text += f"({100 * size / draws:.0f}%)."
    if "log_weight" in tree["sample_stats"]:
        log_weights = np.asarray(tree["sample_stats"]["log_weight"], float).ravel()
        most, label = _largest_shift(latents, np.exp(log_weights))
        text += f" Reweighting moves no mean by more than {most:.2f} standard deviations "
        text += f"(most: {label})."
    title = "Can the draws be trusted?"
    return page.section(title, page.paragraph(text), page.paragraph(EXPLANATION))


def _largest_shift(latents: list[Summary], weights: np.ndarray) -> tuple[float, str]:
    """The largest change of a mean by importance weights, in sds, and of which latent."""
    shifts = [
        (abs(weights @ s.draws / weights.sum() - s.mean) / s.sd, s.label)
        for s in latents
        if s.sd > 0
    ]
    return max(shifts, default=(0.0, "none"))
