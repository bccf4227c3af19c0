"""The section of a report that compares the posterior with the prior."""

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.summary import Summary, label_latents, name_left_out, number, summarize

ROWS, PLOTS = 200, 12
"""Rows of the table, and figures, at most."""

FLAT, FAR = 0.1, 3.0
"""Contraction below which data told little, and distance from the prior in its sds that is far."""

EXPLANATION = (
    "Contraction is 1 - posterior variance / prior variance: near 0 the data told nothing of this "
    "latent, near 1 nearly all. The shift is the distance of the means in sds of the prior."
)


def prior_section(tree: xr.DataTree, latents: list[Summary]) -> str:
    """Contraction and shift of each latent that the group `prior` has; nothing without it."""
    if "prior" not in tree.children or not {"chain", "draw"} <= set(tree["prior"].dims):
        return ""
    prior = tree["prior"].dataset
    numbers = [n for n, v in prior.data_vars.items() if v.dtype.kind in "biuf" and v.size]
    entries = label_latents(prior[numbers], {"chain", "draw"})
    before = {label: summarize(label, v[np.isfinite(v)]) for label, v in entries if v.any()}
    pairs = [(s, before[s.label]) for s in latents if s.label in before]
    pairs = [(s, p) for s, p in pairs if np.isfinite(s.sd) and np.isfinite(p.sd) and p.sd > 0]
    if not pairs:
        return ""
    rows = [
        [
            s.label,
            *(number(v, p.sd) for v in (p.mean, p.sd)),
            *(number(v, s.sd) for v in (s.mean, s.sd)),
            f"{_contraction(s, p):.2f}",
            f"{(s.mean - p.mean) / p.sd:+.2f}",
        ]
        for s, p in pairs
    ]
    head = ["latent", "prior mean", "prior sd", "mean", "sd", "contraction", "shift in sds"]
    return page.section(
        "Prior and posterior",
        page.paragraph(_summarize(pairs)),
        page.table("Prior and posterior of each latent", head, rows[:ROWS]),
        page.paragraph(name_left_out(len(rows), ROWS, "latents")),
        page.paragraph(EXPLANATION),
        page.paragraph("Dashed: the prior."),
        page.plots([_plot(s, p) for s, p in pairs[:PLOTS]]),
        _power_scaling(tree),
    )


def _contraction(latent: Summary, prior: Summary) -> float:
    return 1 - (latent.sd / prior.sd) ** 2


def _summarize(pairs: list[tuple[Summary, Summary]]) -> str:
    flat = [s.label for s, p in pairs if _contraction(s, p) < FLAT]
    far = [s.label for s, p in pairs if abs(s.mean - p.mean) > FAR * p.sd]
    text = f"The data told little of {_some(flat)}. " if flat else ""
    return text + (
        f"The posterior lies more than {FAR:.0f} sds of the prior from its mean: {_some(far)}."
        if far
        else ""
    )


def _some(labels: list[str], most: int = 8) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


def _plot(latent: Summary, prior: Summary) -> str:
    alt = f"Posterior density of {latent.label}, and dashed its prior: contraction "
    alt += f"{_contraction(latent, prior):.2f}."
    return page.figure(figures.density(latent.draws, prior.draws), alt, latent.label)


def _power_scaling(tree: xr.DataTree) -> str:
    """ArviZ's sensitivity to prior and likelihood, where the file has the log densities."""
    if not {"log_prior", "log_likelihood"} <= set(tree.children):
        return ""
    from arviz_stats import psense_summary

    table = psense_summary(tree)
    rows = [
        [str(i), *(str(v) for v in row)]
        for i, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    text = (
        "Sensitivity to the power of prior and likelihood; above 0.05 is large "
        "(Kallioinen et al. 2024)."
    )
    head = ["latent", *map(str, table.columns)]
    return page.paragraph(text) + page.table("Power scaling", head, rows[:ROWS], words=[3])
