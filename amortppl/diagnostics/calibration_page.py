"""The calibration of a guide, or of any inference, as one HTML page.

The verdict in words, a table, figures by latent, and numbers by region.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from amortppl.diagnostics import calibration_figures as draw
from amortppl.diagnostics.calibration import JOINT_LEVEL, LATENTS, REGIONS, WIDE, Calibration
from amortppl.diagnostics.uniformity import BAND, difference_band
from amortppl.report import page
from amortppl.report.summary import name_left_out, number
from amortppl.runtime.files import write

PLOTS = 12
"""Latents with figures: those with the smallest p-values."""

COLUMNS = {
    "coverage_50": "50% covers",
    "coverage_90": "90% covers",
    "z_score": "z-score",
    "bias": "bias",
    "contraction": "contraction",
    "recovery": "recovery",
    "log_density": "log density",
}
"""Heads of the columns of numbers."""

TESTS = {
    "density": "how probable the guide's density makes the truth among draws (expected coverage)",
    "joint": "how probable the model finds the truth among the draws",
    "tarp": "distances to random points (TARP)",
}

RANKS = (
    "Each simulated dataset has latents that made it. "
    "Among draws of a calibrated posterior their rank is uniform. "
    "A hill in the histogram means posteriors too wide, a bowl too narrow, a slope shifted. "
    "The curve beside it is the ranks' distribution function minus the uniform one; "
    f"all of it stays in the band with probability {BAND:.0%} "
    "if all is right, for each latent by itself (Säilynoja, Bürkner and Vehtari 2022)."
)


def write_calibration(calibration: Calibration, path: str | Path) -> Path:
    """Writes the report to an HTML file and returns its path.

    Raises:
        OSError: the place cannot be written.
    """
    around = " around one dataset" if calibration.around else ""
    title = f"Calibration of {calibration.inference} for {calibration.name}{around}"
    sections = (_verdict, _overview, _table, _ranks, _coverage, _recovery, _regions)
    write(path, page.document(title, [section(calibration) for section in sections]).encode())
    return Path(path)


def _verdict(calibration: Calibration) -> str:
    faults, count = _faults(calibration), len(calibration.measurements.rows)
    if faults:
        box = page.box("bad", f"Not calibrated, as {count} simulated datasets show", faults)
    else:
        note = (
            "At most 5 of 100 calibrated inferences would have failed this check; "
            f"it does not see faults that are too small for {count} datasets."
        )
        box = page.box("good", f"Calibrated: nothing wrong in {count} simulated datasets", [note])
    if calibration.problems:
        lines = [f"{n} of {count} datasets: {what}" for what, n in _most(calibration)]
        box += page.box("care", "Not all inferences went well", lines)
    if not calibration.wide:
        return box
    note = (
        f"In {calibration.wide} of {count} datasets a latent's sd is more than {WIDE:.0f} times "
        "its prior's: draws far out, which ranks do not see. Inference warns of most such "
        "datasets: plain draws mislead, the guide does not fit, or the dataset is unlike the "
        "others."
    )
    return box + page.box("care", "Some posteriors are absurdly wide", [note])


def _most(calibration: Calibration, most: int = 10) -> list[tuple[str, int]]:
    """The problems that most datasets had."""
    return sorted(calibration.problems.items(), key=lambda item: -item[1])[:most]


def _faults(calibration: Calibration) -> list[str]:
    """What is wrong, in words: with each latent, with all together, with draws."""
    table, lost = calibration.table, calibration.measurements.lost
    faults = [f"{label}: {_fault(row)}" for label, row in table[~table["ok"]].iterrows()]
    faults += [
        f"All latents together: {TESTS[n]}, p = {p:.2g}"
        for n, p in calibration.together.items()
        if p < JOINT_LEVEL
    ]
    if len(lost):
        count = len(calibration.measurements.rows) + len(lost)
        rows = f"{lost.min():.0f} to {lost.max():.0f}" if np.ptp(lost) else f"{lost[0]:.0f}"
        where = f"{len(lost)} of {count} datasets, of {rows} rows, left out"
        faults.append(f"Draws are not finite: {where}")
    return faults


def _fault(row: pd.Series) -> str:
    """What is wrong with one latent, in words."""
    if row["sbc_p"] >= LATENTS:
        where = row["region"].replace("_", " are ").replace("prior are", "means lie in the prior")
        return f"wrong where {where}, p = {row['region_p']:.2g}"
    faults, ratio = [], f"(errors are {row['z_score']:.2f} of the sds told)"
    if row["z_score"] > 1.1:
        faults.append(f"intervals too narrow {ratio}")
    elif row["z_score"] < 0.9:
        faults.append(f"intervals too wide {ratio}")
    if abs(row["bias"]) > 0.15:
        side = "high" if row["bias"] > 0 else "low"
        faults.append(f"means too {side} by {abs(row['bias']):.2f} sd")
    return f"{' and '.join(faults) or 'ranks are not uniform'}, p = {row['sbc_p']:.2g}"


def _overview(calibration: Calibration) -> str:
    about, rows = calibration.about, calibration.measurements.rows
    error = about["log_density_error"]
    density = f"{number(about['log_density'], error)} ± {number(error, error)}"
    facts = [
        ("simulated datasets", str(about["datasets"])),
        ("draws for each", str(about["draws"])),
        ("rows", f"{rows.min():.0f} to {rows.max():.0f}"),
        ("log density of the truth", density if np.isfinite(error) else ""),
    ]
    return page.facts(facts + [(f"p, {n}", f"{p:.2g}") for n, p in calibration.together.items()])


def _table(calibration: Calibration) -> str:
    names = [n for n in COLUMNS if n != "log_density"]
    rows = [
        [
            label,
            "ok" if row["ok"] else "not calibrated",
            f"{row['sbc_p']:.2g}",
            *(f"{row[n]:.2f}" for n in names),
        ]
        for label, row in calibration.table.iterrows()
    ]
    head = ["latent", "verdict", "p", *(COLUMNS[n] for n in names)]
    note = (
        f"p is corrected for {len(rows)} latents (Holm); below {LATENTS} the ranks are not "
        "uniform. Latents are on the unconstrained scale (a positive one by its logarithm). "
        "z-score: root mean square of (mean - truth) / sd, 1 when calibrated. "
        "Contraction: 1 - posterior variance / prior variance, the median over datasets. "
        "Recovery: rank correlation of mean and truth."
    )
    table = page.table("Calibration of each latent", head, rows, words=[1])
    return page.section("Latents", table, page.paragraph(note))


def _worst(calibration: Calibration) -> list[int]:
    """Places of the latents with figures."""
    return list(np.argsort(calibration.table["sbc_p"].to_numpy(), kind="stable")[:PLOTS])


def _ranks(calibration: Calibration) -> str:
    band, figures = difference_band(len(calibration.measurements.rows)), []
    for i in _worst(calibration):
        label, pit = calibration.labels[i], calibration.measurements.pit[:, i]
        result = f"p = {calibration.table['sbc_p'].iloc[i]:.2g} of uniformity."
        alt = f"Histogram of ranks of {label}: {result}"
        figures.append(page.figure(draw.ranks(pit), alt, f"{label}: ranks"))
        alt = f"Distribution function of ranks of {label} minus uniform, in its band: {result}"
        figures.append(page.figure(draw.ecdf(pit, band), alt, f"{label}: difference"))
    more = name_left_out(len(calibration.labels), PLOTS, "latents", "without figures")
    return page.section("Ranks", page.paragraph(RANKS), page.pairs(figures), page.paragraph(more))


def _coverage(calibration: Calibration) -> str:
    measured = calibration.measurements
    together = next(
        v for v in (measured.density, measured.joint, measured.tarp) if np.isfinite(v).all()
    )
    shares = [f"{1 - np.mean(together < 1 - s):.0%} at {s:.0%}" for s in (0.5, 0.9)]
    alt = (
        "Coverage of central intervals by latent, and of regions of highest density, "
        f"which hold {', '.join(shares)}."
    )
    below = "Above the dashed line posteriors are too wide, below it too narrow."
    uri = draw.coverage(measured.pit, together)
    return page.section("Expected coverage", page.figure(uri, alt, below, wide=True))


def _recovery(calibration: Calibration) -> str:
    figures = [f for i in _worst(calibration) for f in _recovery_pair(calibration, i)]
    return page.section("Recovery", page.pairs(figures))


def _recovery_pair(calibration: Calibration, place: int) -> tuple[str, str]:
    """Figures of one latent: mean against truth, and z-score against contraction."""
    label, row = calibration.labels[place], calibration.table.iloc[place]
    measured = calibration.measurements
    truth, mean, sd = (a[:, place] for a in (measured.truth, measured.mean, measured.sd))
    alt = f"Posterior mean of {label} against its truth: rank correlation {row['recovery']:.2f}."
    outside = _count(draw.beyond(truth, mean), "not shown")
    recovery = page.figure(
        draw.recovery(truth, mean, sd), alt, f"{label}: mean against truth{outside}"
    )
    contraction = 1 - sd**2 / np.var(truth, ddof=1)
    median = f"{row['contraction']:.2f} in the median"
    alt = f"z-score of {label} against contraction {median}."
    caption = f"{label}: z-score against contraction"
    caption += _count(contraction < draw.LEAST, "at the left edge")
    uri = draw.contraction(contraction, (mean - truth) / sd)
    return recovery, page.figure(uri, alt, caption)


def _count(which: np.ndarray, where: str) -> str:
    return f" ({np.sum(which)} of {len(which)} {where})" if which.any() else ""


def _regions(calibration: Calibration) -> str:
    rows = [
        [label, *(f"{p:.2g}" for p in row)]
        for label, row in zip(calibration.labels, calibration.region_p.to_numpy(), strict=True)
    ]
    head = ["latent", *(n.replace("_", ": ") for n in calibration.region_p.columns)]
    more = name_left_out(len(calibration.labels), PLOTS, "latents", "not in it")
    note = (
        "p-values of uniform ranks within regions, corrected for all in this table; "
        f"below {REGIONS} it is wrong there. "
        "Centre and tail are where the posterior mean lies, not the truth: "
        "given the truth no posterior is calibrated."
    )
    whole = (_numbers_by_region(calibration), page.paragraph(more))
    folded = page.foldable("numbers-by-region", "All numbers by region", *whole)
    table = page.table("Calibration by region", head, rows)
    return page.section("Regions", table, page.paragraph(note), folded)


def _numbers_by_region(calibration: Calibration) -> str:
    """A table of all numbers, of the latents with figures."""
    labels = [calibration.labels[i] for i in _worst(calibration)]
    numbers = calibration.by_region.loc[labels]
    names = list(numbers.columns[2:])
    rows = [
        [label, region.replace("_", ": "), f"{row['datasets']:.0f}", f"{row['sbc_p']:.2g}"]
        + [f"{row[name]:.2f}" for name in names]
        for (label, region), row in numbers.iterrows()
    ]
    head = ["latent", "region", "datasets", "p", *(COLUMNS[n] for n in names)]
    return page.table("Numbers by region", head, rows, words=[1])
