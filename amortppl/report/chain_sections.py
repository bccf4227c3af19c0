"""Sections of a report about Markov chains: verdict, table, forests, figures by chain, pairs."""

from itertools import combinations, islice

import numpy as np
import xarray as xr

from amortppl.report import chain_figures, page
from amortppl.report.chain_checks import ChainChecks, check_cells, in_order, judge_chains
from amortppl.report.sections import LEVELS, SHARE
from amortppl.report.summary import (
    Summary,
    label_latents,
    name_left_out,
    number,
    summaries,
    warnings_of,
)

ROWS, PLOTS, TRACES, PAIRS = 2000, 24, 6, 6
"""Rows of the table, latents with figures by chain, with a trace, and pairs, at most."""

FORESTS, LINES = 6, 40
"""Forests, and latents in each, at most."""

HEAD = ["latent", "mean", "sd", f"{SHARE} from", f"{SHARE} to"]
CHECKS = ["R-hat", "bulk ESS", "tail ESS", "error / sd"]

EXPLANATION = (
    "R-hat compares the chains with each other, 1 when they agree. Effective sample sizes (ESS) "
    "say how many independent draws tell as much, of the centre and of the tails. The Monte Carlo "
    "error of the mean is given in sds. Vehtari et al. 2021."
)

RANKS = (
    "On the left the density of each chain, on the right the ranks of its draws among those of all "
    "chains: chains that agree lie in the shade. The worst latents come first."
)


def verdict_box(tree: xr.DataTree, checks: ChainChecks) -> str:
    """The verdict on the chains, its reasons, and the warnings of the file."""
    verdict, reasons = judge_chains(checks)
    level = next(colour for kind, colour in LEVELS.items() if verdict.startswith(kind))
    lines = reasons
    notes = warnings_of(tree, "warnings", [])
    box = page.box(level, verdict[0].upper() + verdict[1:], lines)
    return box + (page.box("care", "Warnings", [str(n) for n in notes[:50]]) if notes else "")


def overview(tree: xr.DataTree, checks: ChainChecks) -> str:
    """Sizes, the worst of each check, and who made the draws."""
    about = {**tree.attrs, **tree["posterior"].attrs}
    facts = [("chains", str(checks.chains)), ("draws in each", f"{checks.draws:,}")]
    facts += [("latents", f"{len(checks.labels):,}")]
    if np.isfinite(checks.rhat).any():
        size = np.fmin(checks.bulk, checks.tail)
        facts += [("largest R-hat", f"{np.nanmax(checks.rhat):.2f}")]
        facts += [("fewest effective draws", f"{np.nanmin(size):.0f}")]
        facts += [("largest error of a mean", f"{np.nanmax(checks.error):.2f} sd")]
    if checks.diverged is not None:
        facts += [("diverged", f"{checks.diverged:,}")]
    if len(checks.energy):
        facts += [("least E-BFMI", f"{checks.energy.min():.2f}")]
    if checks.deep is not None:
        facts += [("at the largest tree depth", f"{checks.deep:,}")]
    library = " ".join(
        str(about.get(f"inference_library{end}", "")) for end in ("", "_version")
    ).strip()
    made = str(about.get("created_at", "")).replace("T", " ")[:16]
    return page.facts([*facts, ("made by", library), ("made", made)])


def posterior_section(tree: xr.DataTree, latents: list[Summary], checks: ChainChecks) -> str:
    """Moments, interval and checks of each latent, the worst first where there are many."""
    many = len(latents) > PLOTS
    places = {label: i for i, label in enumerate(checks.labels)}
    shown = in_order(latents, checks) if many else latents
    cells = [
        [s.label, *(number(v, s.sd) for v in s[1:5]), *check_cells(checks, places[s.label])]
        for s in shown[:ROWS]
    ]
    keys = [_keys(s, checks, places[s.label]) for s in shown[:ROWS]]
    table = page.sortable("Posterior of each latent", [*HEAD, *CHECKS], cells, keys, [])
    left = page.paragraph(name_left_out(len(latents), ROWS, "latents"))
    order = page.paragraph("The latents that are checked worst come first." if many else "")
    return page.section(
        "Posterior",
        _by_variable(tree, checks) if many else "",
        order,
        table,
        left,
        page.paragraph(EXPLANATION),
        *_forests(tree),
    )


def _keys(latent: Summary, checks: ChainChecks, place: int) -> list[float | None]:
    numbers = (*latent[1:5], *(a[place] for a in checks[1:5]))
    return [None, *(float(v) if np.isfinite(v) else 1e30 for v in numbers)]


def _by_variable(tree: xr.DataTree, checks: ChainChecks) -> str:
    """A row a variable, the worst of its entries' checks."""
    posterior, start, rows = tree["posterior"].dataset, 0, []
    for name, values in posterior.data_vars.items():
        count = values.size // (values.sizes["chain"] * values.sizes["draw"])
        part, start = slice(start, start + count), start + count
        rhat, size = checks.rhat[part], np.fmin(checks.bulk[part], checks.tail[part])
        worst = [f"{np.nanmax(rhat):.2f}" if np.isfinite(rhat).any() else "none"]
        worst += [f"{np.nanmin(size):.0f}" if np.isfinite(size).any() else "none"]
        rows.append([str(name), f"{count:,}", *worst])
    head = ["variable", "entries", "largest R-hat", "fewest effective draws"]
    return page.table("Checks by variable", head, rows[:ROWS])


def _forests(tree: xr.DataTree) -> list[str]:
    """A forest of each variable with several entries."""
    posterior, parts = tree["posterior"].dataset, {}
    for name, values in posterior.data_vars.items():
        count = values.size // (values.sizes["chain"] * values.sizes["draw"])
        if count < 2 or len(parts) >= FORESTS:
            continue
        first = values.stack(entry=[d for d in values.dims if d not in ("chain", "draw")])
        first = first.isel(entry=slice(LINES)).reset_index("entry", drop=True)
        labels = [label for label, _ in _first(posterior[[name]], LINES)]
        drawn = [
            s._replace(label=label)
            for s, label in zip(summaries(first.to_dataset(name=name)), labels, strict=True)
            if np.isfinite(s.draws).any()
        ]
        if drawn:
            parts[str(name)] = _forest(str(name), drawn, count)
    return [page.choice("Forest of", parts)] if parts else []


def _first(dataset: xr.Dataset, most: int) -> list[tuple[str, np.ndarray]]:
    return list(islice(label_latents(dataset, {"chain", "draw"}), most))


def _forest(name: str, latents: list[Summary], count: int) -> str:
    low, high = min(s.low for s in latents), max(s.high for s in latents)
    alt = f"Medians, halves and {SHARE} intervals of {len(latents)} entries of {name}, "
    alt += f"between {number(low)} and {number(high)}."
    caption = f"{name}: medians, halves and {SHARE} intervals. "
    caption += name_left_out(count, LINES, "entries", "without a line")
    return page.figure(chain_figures.forest(latents), alt, caption, wide=True)


def by_chain(tree: xr.DataTree, checks: ChainChecks) -> str:
    """Densities and ranks by chain of the worst latents, and their traces folded away."""
    if checks.draws < 2:
        return ""
    values = dict(label_latents(tree["posterior"].dataset, {"chain", "draw"}))
    worst = [checks.labels[i] for i in checks.order[:PLOTS]]
    shown = [n for n in worst if np.isfinite(values[n]).all()]
    plots = [figure for name in shown for figure in _chain_plots(name, values[name], checks)]
    stats = tree["sample_stats"] if "sample_stats" in tree.children else {}
    diverged = np.asarray(stats["diverging"].values) > 0 if "diverging" in stats else None
    traces = [
        page.figure(chain_figures.trace(values[n], diverged), _alt("Trace", n, checks), n, True)
        for n in shown[:TRACES]
    ]
    ticks = "Marks below: where a transition diverged." if diverged is not None else ""
    folded = page.foldable("traces", "Traces", page.paragraph(ticks), *traces) if traces else ""
    left = page.paragraph(name_left_out(len(checks.labels), PLOTS, "latents", "without figures"))
    return page.section("Chain by chain", page.paragraph(RANKS), page.pairs(plots), left, folded)


def _chain_plots(name: str, chains: np.ndarray, checks: ChainChecks) -> list[str]:
    return [
        page.figure(chain_figures.densities(chains), _alt("Densities", name, checks), name),
        page.figure(chain_figures.ranks(chains), _alt("Ranks", name, checks), f"{name}: ranks"),
    ]


def _alt(what: str, name: str, checks: ChainChecks) -> str:
    rhat, bulk, *_ = check_cells(checks, checks.labels.index(name))
    return f"{what} of {name} by chain: R-hat {rhat}, bulk effective sample size {bulk}."


def pairs(tree: xr.DataTree, checks: ChainChecks) -> str:
    """Scatter plots of the worst latents against each other, diverged transitions on top."""
    values = dict(label_latents(tree["posterior"].dataset, {"chain", "draw"}))
    moving = [i for i in checks.order if not checks.fixed[i] and not checks.not_finite[i]]
    worst = [checks.labels[i] for i in moving[:4]]
    if len(worst) < 2 or checks.chains * checks.draws < 20:
        return ""
    stats = tree["sample_stats"] if "sample_stats" in tree.children else {}
    size = checks.chains * checks.draws
    diverged = np.zeros(size, bool)
    if "diverging" in stats and stats["diverging"].size == size:
        diverged = np.asarray(stats["diverging"].transpose("chain", "draw").values).ravel() > 0
    figures = []
    for a, b in list(combinations(worst, 2))[:PAIRS]:
        first, second = values[a].ravel(), values[b].ravel()
        both = np.corrcoef(first, second)[0, 1]
        alt = f"Draws of {a} against {b}: correlation {both:.2f}, {diverged.sum()} diverged."
        uri = chain_figures.pair(first, second, (a, b), diverged)
        figures.append(page.figure(uri, alt, f"{b} against {a}: correlation {both:.2f}"))
    about = "The latents that are checked worst, against each other."
    about += " In red: draws of transitions that diverged." if diverged.any() else ""
    return page.section("Pairs of the worst", page.paragraph(about), page.triples(figures))
