"""A guide's calibration as one HTML page: the verdict in words, a table, figures by latent,
regions.
"""

from pathlib import Path

import numpy as np

from amortppl.diagnostics import calibration_figures as draw
from amortppl.diagnostics.calibration import JOINT_LEVEL, LATENTS, REGIONS, WIDE, Calibration
from amortppl.diagnostics.uniformity import BAND, difference_band
from amortppl.report import page
from amortppl.report.summary import name_left_out, number
from amortppl.runtime.files import write

PLOTS = 12
"""Latents with figures."""

TESTS = {
    "density": "how probable the guide finds the truth among its draws (expected coverage)",
    "joint": "how probable the model finds the truth among the draws",
    "tarp": "distances to random points (TARP)",
}

READING = (
    "Each simulated dataset has latents that made it. Among draws of a calibrated posterior their "
    "rank is uniform. A "
    "hill in the histogram means posteriors too wide, a bowl too narrow, a slope shifted. The "
    "curve beside it is the "
    f"ranks' distribution function minus the uniform one; all of it stays in the band with "
    f"probability {BAND:.0%} "
    "if the guide is calibrated, for each latent by itself (Säilynoja, Bürkner and Vehtari 2022)."
)


def write_calibration(found: Calibration, path: str | Path) -> Path:
    """Writes the report.

    Raises:
        OSError: the place cannot be written.
    """
    around = " around one dataset" if found.around else ""
    parts = [
        _verdict(found),
        _overview(found),
        _table(found),
        _ranks(found),
        _coverage(found),
        _recovery(found),
    ]
    title = f"Calibration of the guide for {found.name}{around}"
    write(path, page.document(title, [*parts, _regions(found)]).encode())
    return Path(path)


def _verdict(found: Calibration) -> str:
    table, faults = found.table, []
    for label, row in table[~table["ok"]].iterrows():
        faults.append(f"{label}: {_fault(row)}")
    faults += [
        f"All latents together: {TESTS[n]}, p = {p:.2g}"
        for n, p in found.together.items()
        if p < JOINT_LEVEL
    ]
    count, lost = len(found.readings.rows), found.readings.lost
    if len(lost):
        rows = f"{lost.min():.0f} to {lost.max():.0f}" if np.ptp(lost) else f"{lost[0]:.0f}"
        faults.append(
            f"Draws are not finite: {len(lost)} of {count + len(lost)} datasets, of {rows} rows, "
            f"left out"
        )
    if not faults:
        said = "At most 5 of 100 calibrated guides would have failed this check; it does not see faults that are "
        said += f"too small for {count} datasets."
        box = page.box("good", f"Calibrated: nothing wrong in {count} simulated datasets", [said])
    else:
        box = page.box("bad", f"Not calibrated, as {count} simulated datasets show", faults)
    if not found.wide:
        return box
    said = (
        f"In {found.wide} of {count} datasets a latent's sd is more than {WIDE:.0f} times its "
        f"prior's: draws far out, "
        "which ranks do not see. Inference warns of most such datasets: plain draws mislead, the "
        "guide does not fit, "
        "or the dataset is unlike the others."
    )
    return box + page.box("care", "Some posteriors are absurdly wide", [said])


def _fault(row) -> str:
    """What is wrong with one latent, in words."""
    if row["sbc_p"] >= LATENTS:
        return (
            f"wrong where "
            f"{row['region'].replace('_', ' are ').replace('prior are', 'means lie in the prior')}, "
            + (f"p = {row['region_p']:.2g}")
        )
    said = []
    if row["z_score"] > 1.1:
        said.append(f"intervals too narrow (errors are {row['z_score']:.2f} of the sds told)")
    elif row["z_score"] < 0.9:
        said.append(f"intervals too wide (errors are {row['z_score']:.2f} of the sds told)")
    if abs(row["bias"]) > 0.15:
        said.append(
            f"means too {'high' if row['bias'] > 0 else 'low'} by {abs(row['bias']):.2f} sd"
        )
    return f"{' and '.join(said) or 'ranks are not uniform'}, p = {row['sbc_p']:.2g}"


def _overview(found: Calibration) -> str:
    about, rows = found.about, found.readings.rows
    error = about["log_density_error"]
    facts = [
        ("simulated datasets", str(about["datasets"])),
        ("draws for each", str(about["draws"])),
        ("rows", f"{rows.min():.0f} to {rows.max():.0f}"),
        (
            "log density of the truth",
            f"{number(about['log_density'], error)} ± {number(error, error)}",
        ),
    ]
    return page.facts(facts + [(f"p, {n}", f"{p:.2g}") for n, p in found.together.items()])


def _table(found: Calibration) -> str:
    head = [
        "latent",
        "verdict",
        "p",
        "50% covers",
        "90% covers",
        "z-score",
        "bias",
        "contraction",
        "recovery",
    ]
    names = ["sbc_p", "coverage_50", "coverage_90", "z_score", "bias", "contraction", "recovery"]
    rows = [
        [
            label,
            "ok" if row["ok"] else "not calibrated",
            *(f"{row[n]:.2g}" if n == "sbc_p" else f"{row[n]:.2f}" for n in names),
        ]
        for label, row in found.table.iterrows()
    ]
    said = (
        f"p is corrected for {len(rows)} latents (Holm); below {LATENTS} the ranks are not "
        f"uniform. Latents are on "
        "the unconstrained scale (a positive one by its logarithm). z-score: root mean square of "
        "(mean - truth) / sd, "
        "1 when calibrated. Contraction: 1 - posterior variance / prior variance, the median over "
        "datasets. Recovery: "
        "rank correlation of mean and truth."
    )
    return page.section(
        "Latents",
        page.table("Calibration of each latent", head, rows, words=[1]),
        page.paragraph(said),
    )


def _worst(found: Calibration) -> list[int]:
    return list(np.argsort(found.table["sbc_p"].to_numpy(), kind="stable")[:PLOTS])


def _ranks(found: Calibration) -> str:
    band, figures = difference_band(len(found.readings.rows)), []
    for i in _worst(found):
        label, pit = found.labels[i], found.readings.pit[:, i]
        said = f"p = {found.table['sbc_p'].iloc[i]:.2g} of uniformity."
        figures.append(
            page.figure(
                draw.ranks(pit), f"Histogram of ranks of {label}: {said}", f"{label}: ranks"
            )
        )
        alt = f"Distribution function of ranks of {label} minus uniform, in its band: {said}"
        figures.append(page.figure(draw.ecdf(pit, band), alt, f"{label}: difference"))
    more = name_left_out(len(found.labels), PLOTS, "latents", "without figures")
    return page.section("Ranks", page.paragraph(READING), page.pairs(figures), page.paragraph(more))


def _coverage(found: Calibration) -> str:
    shares = ", ".join(
        f"{1 - np.mean(found.readings.density < 1 - s):.0%} at {s:.0%}" for s in (0.5, 0.9)
    )
    alt = f"Coverage of central intervals by latent, and of regions of highest density, which hold {shares}."
    below = "Above the dashed line posteriors are too wide, below it too narrow."
    figure = page.figure(
        draw.coverage(found.readings.pit, found.readings.density), alt, below, wide=True
    )
    return page.section("Expected coverage", figure)


def _recovery(found: Calibration) -> str:
    read, table, figures = found.readings, found.table, []
    for i in _worst(found):
        label, spread = found.labels[i], np.var(read.truth[:, i], ddof=1)
        alt = f"Posterior mean of {label} against its truth: rank correlation {table['recovery'].iloc[i]:.2f}."
        uri = draw.recovery(read.truth[:, i], read.mean[:, i], read.sd[:, i])
        said = f"{label}: mean against truth{_where(draw.beyond(read.truth[:, i], read.mean[:, i]), 'not shown')}"
        figures.append(page.figure(uri, alt, said))
        z = (read.mean[:, i] - read.truth[:, i]) / read.sd[:, i]
        alt = f"z-score of {label} against contraction {table['contraction'].iloc[i]:.2f} in the median."
        contracted = 1 - read.sd[:, i] ** 2 / spread
        said = f"{label}: z-score against contraction{_where(contracted < draw.LEAST, 'at the left edge')}"
        figures.append(page.figure(draw.contraction(contracted, z), alt, said))
    return page.section("Recovery", page.pairs(figures))


def _where(which: np.ndarray, where: str) -> str:
    return f" ({np.sum(which)} of {len(which)} {where})" if which.any() else ""


def _regions(found: Calibration) -> str:
    rows = [
        [label, *(f"{p:.2g}" for p in row)]
        for label, row in zip(found.labels, found.region_p.to_numpy(), strict=True)
    ]
    head = ["latent", *(n.replace("_", ": ") for n in found.region_p.columns)]
    each = found.by_region.loc[[found.labels[i] for i in _worst(found)]]
    numbers = [
        [label, region.replace("_", ": "), f"{row.pop('datasets'):.0f}", f"{row.pop('sbc_p'):.2g}"]
        + [f"{value:.2f}" for value in row.values()]
        for (label, region), row in zip(each.index, each.to_dict("records"), strict=True)
    ]
    columns = (
        "latent",
        "region",
        "datasets",
        "p",
        "50% covers",
        "90% covers",
        "z-score",
        "contraction",
        "bias",
    )
    whole = page.table(
        "Numbers by region", [*columns, "recovery", "log density"], numbers, words=[1]
    )
    more = name_left_out(len(found.labels), PLOTS, "latents", "not in it")
    said = (
        f"p-values of uniform ranks within regions, corrected for all in this table; below "
        f"{REGIONS} the guide is "
        "wrong there. Centre and tail are where the posterior mean lies, not the truth: given the "
        "truth no posterior "
        "is calibrated."
    )
    folded = page.foldable(
        "numbers-by-region", "All numbers by region", whole, page.paragraph(more)
    )
    return page.section(
        "Regions", page.table("Calibration by region", head, rows), page.paragraph(said), folded
    )
