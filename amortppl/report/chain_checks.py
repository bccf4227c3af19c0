"""The verdict on Markov chains: do they agree, and are they long enough?

R-hat, effective sample sizes, Monte Carlo errors and E-BFMI are ArviZ's. Vehtari, Gelman, Simpson,
Carpenter and Bürkner 2021, "Rank-normalization, folding, and localization: an improved R-hat",
Bayesian Analysis 16; Betancourt 2016, arXiv 1604.00695 (E-BFMI).
"""

import warnings
from typing import NamedTuple

import numpy as np
import xarray as xr

from amortppl.report.summary import Summary, label_latents, number

FEWEST = 4
"""Draws of a chain from which an R-hat can be computed."""

MIXED, APART = 1.01, 1.05
"""R-hats up to which chains agree, and above which they do not."""

ENOUGH, TOO_FEW = 100, 50
"""Effective draws a chain that are enough, and in all that are too few."""

DIVERGENT = 0.005
"""Share of transitions that diverge above which part of the posterior may be missing."""

ENERGY = 0.3
"""E-BFMI below which momenta are resampled too slowly for the energies of the posterior."""

DEPTH = 10
"""The largest tree depth, where the file does not say which transitions reached theirs."""


class ChainChecks(NamedTuple):
    """What is computed from the chains of P latent entries.

    Attributes:
        labels: of the entries.
        rhat, bulk, tail, error: R-hat, effective sample sizes, and the Monte Carlo error of the
            mean in sds, (P,); NaN where they cannot be computed.
        chains, draws: how many chains, and draws in each.
        fixed: entries that have one value in all draws, (P,).
        stuck: for each chain the labels that do not move in it though they do in others.
        not_finite: draws of each entry that are not finite, (P,).
        diverged: how many transitions diverged; None where the file does not say.
        deep: how many reached the largest tree depth; None likewise.
        energy: E-BFMI by chain; empty likewise.
        modes: how the chains of the worst entry lie apart, in words; empty where they do not.
    """

    labels: list[str]
    rhat: np.ndarray
    bulk: np.ndarray
    tail: np.ndarray
    error: np.ndarray
    chains: int
    draws: int
    fixed: np.ndarray
    stuck: dict[int, list[str]]
    not_finite: np.ndarray
    diverged: int | None
    deep: int | None
    energy: np.ndarray
    modes: str

    @property
    def order(self) -> np.ndarray:
        """Places of the entries, the worst first: draws not finite, then R-hat, then few draws."""
        rhat = np.where(np.isnan(self.rhat) & ~self.fixed, np.inf, np.nan_to_num(self.rhat))
        size = np.fmin(np.nan_to_num(self.bulk, nan=np.inf), np.nan_to_num(self.tail, nan=np.inf))
        return np.lexsort((size, -np.round(rhat, 2), self.not_finite == 0))


def is_of_chains(tree: xr.DataTree) -> bool:
    """Whether a posterior is another sampler's: this library's own have a k-hat."""
    return "sample_stats" not in tree.children or "khat" not in tree["sample_stats"]


def check_chains(tree: xr.DataTree) -> ChainChecks:
    """Checks a posterior with dimensions (chain, draw, ...)."""
    posterior = tree["posterior"].dataset
    entries = list(label_latents(posterior, {"chain", "draw"}))
    values = np.stack([_floats(v) for _, v in entries])
    labels = [label for label, _ in entries]
    ptp = np.ptp(values, axis=2)
    fixed = (np.ptp(values, axis=(1, 2)) == 0) & (values.shape[1] * values.shape[2] > 1)
    moving = ~fixed & (values.shape[2] > 1)
    stuck = {
        c: [labels[i] for i in np.flatnonzero((ptp[:, c] == 0) & moving)]
        for c in range(values.shape[1])
    }
    rhat, bulk, tail, error = _convergence(values)
    checks = ChainChecks(
        labels,
        rhat,
        bulk,
        tail,
        error,
        *values.shape[1:],
        fixed,
        {c: names for c, names in stuck.items() if names},
        np.sum(~np.isfinite(values), axis=(1, 2)),
        *_transitions(tree),
        "",
    )
    worst = checks.order[0]
    return checks._replace(modes=_chains_apart(values[worst], labels[worst]))


def _floats(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64)


def _convergence(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """R-hat, bulk and tail effective sample size, and error of the mean in sds of (P, C, L)."""
    from arviz_stats.base import array_stats

    if values.shape[2] < FEWEST:
        return (np.full(len(values), np.nan),) * 4
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rhat = np.asarray(array_stats.rhat(values), float)
        bulk = np.asarray(array_stats.ess(values), float)
        tail = np.asarray(array_stats.ess(values, method="tail", prob=(0.05, 0.95)), float)
        error = np.asarray(array_stats.mcse(values, method="mean"), float)
        return rhat, bulk, tail, error / values.std((1, 2), ddof=1)


def _transitions(tree: xr.DataTree) -> tuple[int | None, int | None, np.ndarray]:
    """How many transitions diverged, how many reached the largest depth, and E-BFMI by chain."""
    if "sample_stats" not in tree.children:
        return None, None, np.empty(0)
    from arviz_stats import bfmi

    stats = tree["sample_stats"].dataset
    diverged = int(np.sum(stats["diverging"].values > 0)) if "diverging" in stats else None
    deep = None
    reached = [n for n in ("reached_max_treedepth", "reached_max_tree_depth") if n in stats]
    if reached:
        deep = int(np.sum(stats[reached[0]].values > 0))
    elif "tree_depth" in stats:
        deep = int(np.sum(stats["tree_depth"].values >= DEPTH))
    energy = np.empty(0)
    if "energy" in stats and {"chain", "draw"} == set(stats["energy"].dims):
        energy = np.atleast_1d(bfmi(tree)["energy"].values).astype(float)
    return diverged, deep, energy


def _chains_apart(values: np.ndarray, label: str) -> str:
    """Which chains (C, L) lie apart from the others, in words; nothing where none do."""
    if len(values) < 2 or not np.isfinite(values).all():
        return ""
    middle, spread = np.median(values, 1), np.median(values.std(1))
    order = np.argsort(middle)
    gaps = np.diff(middle[order])
    cut = int(np.argmax(gaps)) + 1
    if not gaps[cut - 1] > 3 * spread:
        return ""
    sides = [np.sort(order[:cut]), np.sort(order[cut:])]
    text = [
        f"{_chain_words(side)} around {number(np.median(middle[side]), spread or None)}"
        for side in sides
    ]
    return f"chains lie apart: of {label} {text[0]}, {text[1]}; there may be several modes"


def _chain_words(chains: np.ndarray) -> str:
    return f"chain{'s' if len(chains) > 1 else ''} {', '.join(map(str, chains))}"


def judge_chains(checks: ChainChecks) -> tuple[str, list[str]]:
    """The verdict in words, as `amortppl.trust.verdict` has them, and its reasons, worst first."""
    bad, care = _faults(checks)
    if checks.chains == 1 and checks.diverged is None and not len(checks.energy) and not bad:
        return "not checked: one chain, and the file does not say how its draws were made", care
    if bad:
        return f"not reliable: {bad[0]}", [*bad[1:], *care]
    if np.isnan(checks.rhat[~checks.fixed]).all():
        return (
            f"not checked: {checks.chains} x {checks.draws} draws are too few for R-hat, which "
            f"needs {FEWEST} in a chain",
            care,
        )
    if care:
        return f"usable: with care, {care[0]}", care[1:]
    return "good: the chains agree and are long enough", _missing(checks)


def _faults(checks: ChainChecks) -> tuple[list[str], list[str]]:
    """What makes the draws unreliable, and what asks for care."""
    bad, care = _faults_of_draws(checks)
    more_bad, more_care = _faults_of_transitions(checks)
    if checks.chains == 1:
        more_care.append("one chain: only its halves could be compared, run several")
    return bad + more_bad, care + more_care


def _faults_of_draws(checks: ChainChecks) -> tuple[list[str], list[str]]:
    bad, care = [], []
    spoiled = np.flatnonzero(checks.not_finite)
    if len(spoiled):
        count = f"not finite: {checks.not_finite[spoiled[0]]:,} of the draws of "
        more = f" and some of {len(spoiled) - 1} further latents" if len(spoiled) > 1 else ""
        bad.append(f"{count}{checks.labels[spoiled[0]]}{more}")
    bad += [
        f"chain {chain} does not move in {_list_some(names)}"
        for chain, names in checks.stuck.items()
    ]
    bad += [checks.modes] if checks.modes else []
    rhat = np.nan_to_num(checks.rhat)
    if len(rhat) and rhat.max() > MIXED:
        worst, limit = int(np.argmax(rhat)), APART if rhat.max() > APART else MIXED
        where = f"R-hat is {_decimals(rhat[worst])} in {checks.labels[worst]}"
        text = f"{where} and above {limit} in {np.sum(rhat > limit)} of {len(rhat)} latents"
        (bad if limit == APART else care).append(f"chains do not agree: {text}")
    for kind, sizes in (("bulk", checks.bulk), ("tail", checks.tail)):
        if np.isnan(sizes).all():
            continue
        worst = int(np.nanargmin(sizes))
        text = f"{checks.labels[worst]} has a {kind} effective sample size of {sizes[worst]:.0f}"
        if sizes[worst] < TOO_FEW:
            bad.append(f"too few draws: {text}")
        elif sizes[worst] < ENOUGH * checks.chains:
            care.append(f"{text}, below {ENOUGH} a chain")
    return bad, care


def _faults_of_transitions(checks: ChainChecks) -> tuple[list[str], list[str]]:
    bad, care, total = [], [], checks.chains * checks.draws
    if checks.diverged:
        text = f"{checks.diverged:,} of {total:,} transitions diverged"
        bias = f"{text}: the sampler misses part of the posterior; accept more, or reparameterize"
        if checks.diverged > DIVERGENT * total:
            bad.append(bias)
        else:
            care.append(bias)
    low = np.flatnonzero(checks.energy < ENERGY)
    if len(low):
        least = f"E-BFMI is {checks.energy.min():.2f}"
        care.append(f"{least}, below {ENERGY} in {_chain_words(low)}: tails are seen slowly")
    if checks.deep and checks.deep > 0.01 * total:
        care.append(
            f"{checks.deep:,} of {total:,} transitions reached the largest tree depth: slow, not "
            "wrong by itself"
        )
    return bad, care


def _missing(checks: ChainChecks) -> list[str]:
    """What the file does not tell."""
    return (
        ["The file does not say whether transitions diverged."] if checks.diverged is None else []
    )


def _list_some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _decimals(rhat: float) -> str:
    return f"{rhat:.2f}" if rhat < 100 else "above 100"


def check_cells(checks: ChainChecks, place: int) -> list[str]:
    """R-hat, bulk and tail effective sample size, and Monte Carlo error in sds, as text."""
    values = (checks.rhat[place], checks.bulk[place], checks.tail[place], checks.error[place])
    rhat, bulk, tail, error = values
    whole = [f"{v:.0f}" if np.isfinite(v) else "none" for v in (bulk, tail)]
    first = _decimals(rhat) if not np.isnan(rhat) else "none"
    return [first, *whole, f"{error:.3f}" if np.isfinite(error) else "none"]


def in_order(latents: list[Summary], checks: ChainChecks) -> list[Summary]:
    """The latents, worst first."""
    by_label = {s.label: s for s in latents}
    return [by_label[checks.labels[i]] for i in checks.order if checks.labels[i] in by_label]
