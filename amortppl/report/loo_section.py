"""The section of a report about leave-one-out cross-validation, row by row.

Vehtari, Gelman and Gabry 2017, "Practical Bayesian model evaluation using leave-one-out
cross-validation and WAIC", Statistics and Computing 27.
"""

import warnings

import numpy as np
import xarray as xr

from amortppl.report import page
from amortppl.report.chain_checks import is_of_chains
from amortppl.report.figures import DATA, GUIDE, REFERENCE, WIDE, blank_axes, data_uri
from amortppl.report.summary import number
from amortppl.trust.leave_one_out import LeaveOneOut, leave_one_out

ROWS = 20_000
"""Rows of an observation for which it is computed at most; beyond, for so many evenly spaced."""

NAMED = 20
"""Rows named at most."""

EXPLANATION = (
    "The expected log predictive density (ELPD) of rows that the model has not seen, by "
    "Pareto-smoothed importance sampling. Where a row's Pareto k is above the limit the posterior "
    "would change much without that row: its ELPD is not reliable, and the row is worth a look."
)


def loo_section(tree: xr.DataTree) -> str:
    """ELPD, rows with a high Pareto k, and rows that fit worst; nothing without log likelihoods."""
    if "log_likelihood" not in tree.children:
        return ""
    parts = [
        part
        for name, values in tree["log_likelihood"].dataset.data_vars.items()
        if {"chain", "draw"} < set(values.dims)
        for part in _observation(tree, str(name))
    ]
    return page.section("Rows left out one by one", *parts, page.paragraph(EXPLANATION))


def _observation(tree: xr.DataTree, name: str) -> list[str]:
    values = tree["log_likelihood"].dataset[name].transpose("chain", "draw", ...)
    rows = values.stack(entry=values.dims[2:])
    if not np.isfinite(rows.values).all():
        return [
            page.paragraph(f"{name}: some log likelihoods are not finite, LOO is not computed.")
        ]
    labels = [_label(place) for place in rows["entry"].values]
    taken = np.arange(rows.sizes["entry"])
    if len(taken) > ROWS:
        taken = np.linspace(0, len(taken) - 1, ROWS).astype(int)
    flat = rows.isel(entry=taken).reset_index("entry", drop=True)
    if _chains(tree):
        result = _of_chains(tree, flat, name)
    else:
        result = leave_one_out(flat.values.reshape(-1, len(taken)))
    return _parts(name, result, [labels[i] for i in taken], len(labels))


def _of_chains(tree: xr.DataTree, flat: xr.DataArray, name: str) -> LeaveOneOut:
    """By ArviZ, which takes into account how dependent draws are."""
    from arviz_stats import loo

    small = xr.DataTree.from_dict(
        {"/posterior": tree["posterior"].dataset, "/log_likelihood": flat.to_dataset(name=name)}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = loo(small, var_name=name, pointwise=True)
    k, elpd = np.asarray(result.pareto_k).ravel(), np.asarray(result.elpd_i).ravel()
    k = np.where(np.isnan(k), np.inf, k)  # one draw has all the weight
    return LeaveOneOut(elpd, k, float(result.p), float(result.good_k))


def _chains(tree: xr.DataTree) -> bool:
    """Whether draws are dependent, and enough to tell how much so."""
    sizes = tree["posterior"].sizes
    return is_of_chains(tree) and sizes["draw"] >= 4 and sizes["chain"] * sizes["draw"] > 20


def _label(place: object) -> str:
    return ", ".join(map(str, place)) if isinstance(place, tuple) else str(place)


def _parts(name: str, result: LeaveOneOut, labels: list[str], count: int) -> list[str]:
    elpd, k, limit, se = result.elpd, result.k, result.limit, result.se
    high = np.argsort(-k)[: int(np.sum(k > limit))]
    facts = [
        ("observation", name),
        ("ELPD", f"{number(elpd.sum(), se)} ± {number(se, se)}"),
        ("effective parameters", f"{result.effective:.1f}"),
        (f"rows with k above {limit:.2f}", f"{len(high)} of {len(k)}"),
    ]
    words = "No row has a high Pareto k."
    if len(high):
        named = ", ".join(f"{labels[i]} ({k[i]:.2f})" for i in high[:NAMED])
        words = f"Rows with a high Pareto k: {named}"
        words += f" and {len(high) - NAMED} more." if len(high) > NAMED else "."
    if count > len(k):
        words += f" Of {count:,} rows {len(k):,} were taken, evenly spaced."
    worst = np.argsort(elpd)[:10]
    cells = [[labels[i], f"{elpd[i]:.2f}", f"{k[i]:.2f}"] for i in worst]
    alt = f"Pareto k of {len(k)} rows of {name}: {len(high)} above {limit:.2f}."
    return [
        page.facts(facts),
        page.paragraph(words),
        page.figure(_figure(k, limit), alt, f"Pareto k of each row of {name}", wide=True),
        page.paragraph(f"The {len(worst)} rows that the model expects least:"),
        page.table(f"Rows of {name} that fit worst", ["row", "ELPD", "Pareto k"], cells),
    ]


def _figure(k: np.ndarray, limit: float) -> str:
    figure, axes = blank_axes((WIDE[0], 2.2), "row", "Pareto k")
    places, high = np.arange(len(k)), k > limit
    some = np.unique(np.linspace(0, len(k) - 1, min(3000, len(k))).astype(int))
    axes.plot(places[some], k[some], ".", color=GUIDE, markersize=3)
    axes.plot(places[high][:500], k[high][:500], ".", color=REFERENCE, markersize=6)
    axes.axhline(limit, color=DATA, linewidth=0.8, linestyle=(0, (4, 2)))
    return data_uri(figure)
