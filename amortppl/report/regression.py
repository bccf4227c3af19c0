"""Sections of the report of a formula: names as in the formula, effects, groups, residuals.

They appear where the tree has the attribute `formula`; effects and residuals where `amortppl fit`
or `ap.report_fit` added the groups `effects` and `expected`.
"""

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import xarray as xr

from amortppl.report import page, regression_figures
from amortppl.report.summary import CREDIBLE, MOMENTS, TAILS, name_left_out, number

LEVELS, BINS = 40, 10
"""Levels of a forest at most, and bins of a calibration."""

SHARE = f"{100 * CREDIBLE:.0f}%"


def is_regression(tree: xr.DataTree) -> bool:
    """Whether the posterior is of a formula."""
    return "formula" in tree.attrs


def named_as_in_formula(tree: xr.DataTree) -> xr.Dataset:
    """The posterior with a variable for each coefficient, named by its column.

    Latents that only serve the program, and effects of groups, are left out.
    """
    posterior = tree["posterior"].dataset
    if not is_regression(tree):
        return posterior
    groups = _groups(posterior)
    hidden = {"intercept_at_means", "level_share", *(f"{g}_effect" for g in groups)}
    hidden |= {f"{g}_{n}" for g in groups for n in ("standard", "factor", "correlation")}
    first = [n for n in ("Intercept", "coefficient", "threshold") if n in posterior]
    rest = [n for n in posterior.data_vars if n not in hidden and n not in first]
    kept = {}
    for name in [*first, *rest]:
        if str(name).startswith("coefficient_"):
            continue
        if name == "coefficient" and "column" in posterior[name].dims:
            columns = posterior["column"].values.tolist()
            kept |= {
                str(c): posterior[name].isel(column=i, drop=True) for i, c in enumerate(columns)
            }
        else:
            kept[str(name)] = posterior[name]
    return xr.Dataset(kept)


def _groups(posterior: xr.Dataset) -> list[str]:
    """Names of the groups with effects."""
    ends = [str(n).removesuffix("_effect") for n in posterior.data_vars if "_effect" in str(n)]
    return [n for n in ends if f"{n}_sd" in posterior and n in posterior.dims]


def regression_sections(tree: xr.DataTree) -> list[str]:
    """Effects, coefficients, groups and residuals; nothing where the model is no formula."""
    if not is_regression(tree):
        return []
    return [_effects(tree), _coefficients(tree), _group_effects(tree), _residuals(tree)]


def _effects(tree: xr.DataTree) -> str:
    if "effects" not in tree.children:
        return ""
    effects = tree["effects"].dataset
    outcome = str(effects.attrs["outcome"])
    names = effects["level"].values.tolist() if "level" in effects.coords else []
    figures = []
    for name in effects.data_vars:
        if name == "unit of column":
            continue
        along, ends = effects[f"{name} along"].values, effects[name].values
        uri = regression_figures.effect(along, ends, str(name), names)
        figures.append(page.figure(uri, _effect_words(outcome, str(name), along, ends)))
    if not figures:
        return ""
    text = f"The {outcome} along each column, with {SHARE} intervals. The other columns are at "
    text += "their mean or most frequent value"
    text += ", group effects at zero." if _groups(tree["posterior"].dataset) else "."
    return page.section("Effects", page.paragraph(text), page.plots(figures, large=True))


def _outcome(tree: xr.DataTree) -> str:
    return str(next(iter(tree["expected"].dataset.data_vars)))


def _effect_words(outcome: str, name: str, along: np.ndarray, ends: np.ndarray) -> str:
    """A figure in words."""
    if ends.ndim == 3:
        return f"The {outcome} by level, along {name}."
    scale = float(np.ptp(ends)) or None
    if along.dtype.kind in "fiu":
        first, last = (f"{number(ends[i, 0], scale)} at {number(along[i])}" for i in (0, -1))
        return f"The {outcome} along {name}: {first}, {last}."
    each = (f"{level} {number(m, scale)}" for level, (m, *_) in zip(along, ends, strict=True))
    return f"The {outcome} by {name}: {', '.join(each)}."


def _coefficients(tree: xr.DataTree) -> str:
    """A forest of coefficients, each for one sd of its column."""
    posterior = tree["posterior"].dataset
    if "coefficient" not in posterior or "effects" not in tree.children:
        return ""
    draws = posterior["coefficient"]
    if draws.sizes["column"] < 2 or "level" in draws.dims:
        return ""
    values = (
        draws.values.reshape(-1, draws.sizes["column"]) * tree["effects"]["unit of column"].values
    )
    labels = list(map(str, posterior["column"].values))
    return page.section(
        "Coefficients side by side",
        page.paragraph(f"Each is for one standard deviation of its column; {SHARE} intervals."),
        _forest(labels, values, "change of the predictor"),
    )


def table_section(tree: xr.DataTree) -> str:
    """The columns of the table in the user's units; nothing where they are not there."""
    if "table" not in tree.children:
        return ""
    numbers, words = [], []
    for name, column in tree["table"].dataset.data_vars.items():
        if column.dtype.kind == "f":
            values = column.values[np.isfinite(column.values)]
            sizes = [number(f(values), float(values.std()) or None) for f in MOMENTS.values()]
            numbers.append([str(name), str(len(values)), *sizes])
        else:
            levels, counts = np.unique(column.values, return_counts=True)
            order = np.argsort(-counts)[:6]
            most = ", ".join(f"{levels[i]} ({counts[i]})" for i in order)
            words.append([str(name), str(len(levels)), most + (", …" if len(levels) > 6 else "")])
    return page.section(
        "The data",
        page.table("Columns of numbers", ["column", "rows", *MOMENTS], numbers),
        page.table("Columns of levels", ["column", "levels", "rows of each"], words, words=[2]),
    )


def _forest(labels: list[str], values: np.ndarray, across: str) -> str:
    """A forest of the columns of draws (S, R), the first of them where there are many."""
    kept, ends = labels[:LEVELS], _ends(values)[:LEVELS]
    uri = regression_figures.forest(kept, ends, across)
    low, high = int(ends[:, 0].argmin()), int(ends[:, 0].argmax())
    alt = f"Means and intervals of {len(kept)} entries; the lowest is {kept[low]} "
    alt += f"({number(ends[low, 0])}), the highest {kept[high]} ({number(ends[high, 0])})."
    left = name_left_out(len(labels), LEVELS, "levels", "without a line")
    return page.figure(uri, alt, left, wide=True)


def _ends(values: np.ndarray) -> np.ndarray:
    """Mean and interval (R, 3) of draws (S, R)."""
    return np.stack([values.mean(0), *np.quantile(values, TAILS, axis=0)], -1)


def _group_effects(tree: xr.DataTree) -> str:
    posterior, parts = tree["posterior"].dataset, []
    for name in _groups(posterior):
        effect = posterior[f"{name}_effect"]
        for place, term in enumerate(posterior[f"{name}_term"].values):
            values = effect.isel({f"{name}_term": place}).values.reshape(-1, effect.sizes[name])
            order = np.argsort(-values.mean(0))
            labels = [str(posterior[name].values[i]) for i in order]
            title = f"{term} of each level of {name}, away from the mean of all"
            parts += [page.paragraph(f"{title}:"), _forest(labels, values[:, order], str(term))]
    return page.section("Groups", *parts)


def _residuals(tree: xr.DataTree) -> str:
    """Calibration of outcomes of two kinds; residuals of numbers."""
    if "expected" not in tree.children or "observed_data" not in tree.children:
        return ""
    name, family = _outcome(tree), str(tree.attrs.get("family", ""))
    expected = tree["expected"][name]
    if "level" in expected.dims or "CensoredAbove(" in str(tree.attrs.get("model_source", "")):
        return ""
    means = expected.values[:, 0].astype(float)
    observed = np.asarray(tree["observed_data"][name], float).ravel()
    trials = _trials(tree, len(observed))
    if family in ("bernoulli", "binomial"):
        return _calibration(name, means, observed, trials)
    if not np.isfinite(means).all() or np.ptp(means) <= 1e-9 * (1 + np.abs(means).max()):
        return ""
    if family == "lognormal":
        text = "Residuals of the logarithm would be symmetric; these are of the outcome itself."
    else:
        text = "Means of parts that leave zero say that the predictor lacks a bend or a column."
    left = observed - means
    alt = f"Residuals of {name}: sd {number(left.std())}, from {number(left.min())} to "
    alt += f"{number(left.max())}."
    uri = regression_figures.residuals(means, left, name)
    return page.section("Residuals", page.paragraph(text), page.figure(uri, alt, wide=True))


def _trials(tree: xr.DataTree, rows: int) -> np.ndarray:
    if "constant_data" in tree.children and "trials" in tree["constant_data"]:
        return np.asarray(tree["constant_data"]["trials"], float).ravel()
    return np.ones(rows)


def _calibration(name: str, expected: np.ndarray, observed: np.ndarray, trials: np.ndarray) -> str:
    """Observed against expected shares in bins of equal numbers of rows."""
    bins = np.array([*_bins(expected, observed, trials)])
    if len(bins) < 2:
        return ""
    outside = int(((bins[:, 0] < bins[:, 2]) | (bins[:, 0] > bins[:, 3])).sum())
    text = f"Rows by their expected share of {name}, in {len(bins)} parts; the line is what is "
    text += f"observed if the model is right, with {SHARE} intervals of a binomial. {outside} of "
    text += f"{len(bins)} parts lie outside."
    alt = f"Calibration of {name}: {outside} of {len(bins)} parts lie outside their interval."
    figure = page.figure(regression_figures.calibration(bins), alt, wide=True)
    return page.section("Calibration of the outcome", page.paragraph(text), figure)


def _bins(expected: np.ndarray, observed: np.ndarray, trials: np.ndarray) -> Iterator[list[float]]:
    """Expected share, observed share and its interval (Wilson 1927) of each part."""
    z, count = NormalDist().inv_cdf(TAILS[1]), min(BINS, len(expected) // 10)
    for part in np.array_split(np.argsort(expected), max(count, 1)):
        n = trials[part].sum()
        share = observed[part].sum() / n
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        yield [float(expected[part] @ trials[part] / n), share, middle - half, middle + half]
