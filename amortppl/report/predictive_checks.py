"""Posterior predictive checks of a report: a figure and statistics, by the kind of data.

Gelman, Meng and Stern 1996, "Posterior predictive assessment of model fitness", Statistica
Sinica 6.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.summary import CREDIBLE, MOMENTS, TAILS, number

DRAWS = 400
"""Predictive datasets that the check uses."""

SHARE = f"{100 * CREDIBLE:.0f}%"

EXPLANATION = (
    "Datasets predicted by the posterior should look like the data. "
    "Where they do not, while the verdict above is good, the model is at fault, not the inference."
)

FEW = 10
"""Rows of zeros and ones below which there is no calibration to see."""

CATEGORIES = 7
"""Distinct whole numbers, from 0 or 1 on, up to which they are called categories."""

BARS = 40
"""Distinct whole numbers up to which counts are drawn as bars."""


def predictive_check(tree: xr.DataTree) -> list[str]:
    """For each observation a figure and a table of statistics; nothing without predictive draws."""
    if "posterior_predictive" not in tree.children or "observed_data" not in tree.children:
        return []
    predicted, observed = tree["posterior_predictive"].dataset, tree["observed_data"].dataset
    parts = [page.paragraph(EXPLANATION)]
    for name in observed.data_vars:
        if name in predicted:
            values, draws = _aligned(observed[name], predicted[name])
            if values is not None:
                parts += _check(str(name), values, draws, _events(tree, str(name), len(values)))
    return parts if len(parts) > 1 else []


def _aligned(
    observed: xr.DataArray, predicted: xr.DataArray
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Data (N,) and predictions (S, N) of numbers and the same rows; None where they are not."""
    numbers = observed.dtype.kind in "biuf" and predicted.dtype.kind in "biuf"
    if not numbers or not {"chain", "draw"} <= set(predicted.dims):
        return None, None
    values, draws = np.asarray(observed, float).ravel(), _draws(predicted)
    return (values, draws) if draws.shape[1] == len(values) else (None, None)


def _events(tree: xr.DataTree, name: str, rows: int) -> np.ndarray | None:
    """Whether each row's event was seen, of a censored observation; None where none is said to be.

    ArviZ's convention is a variable of the observation's own name among the constant data.
    """
    if "constant_data" not in tree.children:
        return None
    constant = tree["constant_data"].dataset
    for key, seen in ((name, 1), ("status", 1), ("event", 1), ("censored", 0)):
        if key in constant and constant[key].size == rows and constant[key].dtype.kind in "biuf":
            flags = np.asarray(constant[key], float).ravel()
            if set(np.unique(flags)) == {0.0, 1.0}:
                return flags == seen
    return None


def _draws(values: xr.DataArray) -> np.ndarray:
    """(chain, draw, ...) -> (S, N), thinned to `DRAWS`."""
    flat = np.asarray(values.transpose("chain", "draw", ...), float)
    flat = flat.reshape(flat.shape[0] * flat.shape[1], -1)
    return flat[np.linspace(0, len(flat) - 1, min(DRAWS, len(flat))).astype(int)]


def _check(
    name: str, observed: np.ndarray, predicted: np.ndarray, events: np.ndarray | None = None
) -> list[str]:
    present = np.isfinite(observed)
    observed, predicted = observed[present], predicted[:, present]
    predicted = predicted[np.isfinite(predicted).all(1)]
    if not len(observed) or not len(predicted):
        return []
    if events is not None:
        return [_survival(name, observed, predicted, events[present])]
    if _is_binary(observed, predicted) and len(observed) >= FEW:
        return _calibration(name, observed, predicted)
    draw, kind = _kind(observed, predicted)
    rows = _statistics(observed, predicted)
    outside = [s[0] for s in rows if s[1] == "outside"]
    result = "All statistics lie inside."
    if outside:
        result = f"Outside the predicted {SHARE} interval: {', '.join(outside)}."
    alt = f"{kind} of {name} in the data and as predicted. {result}"
    bars = draw is figures.predictive_bars
    shown = "medians and intervals for predictions" if bars else "over predicted datasets"
    caption = f"{kind} of {name}: the data, {shown}. {result}"
    head = ["statistic", "data are", "data", f"predicted {SHARE} from", "to"]
    return [
        page.figure(draw(observed, predicted, name), alt, caption, wide=True),
        page.table(f"Statistics of {name}, data and prediction", head, rows, words=[1]),
    ]


def _is_binary(observed: np.ndarray, predicted: np.ndarray) -> bool:
    return set(np.unique(observed)) <= {0.0, 1.0} and set(np.unique(predicted)) <= {0.0, 1.0}


def _calibration(name: str, observed: np.ndarray, predicted: np.ndarray) -> list[str]:
    """How often the event happens where it is predicted with each probability."""
    probability = predicted.mean(0)
    mean, expected = observed.mean(), probability.mean()
    alt = f"Share of {name} = 1 against its predicted probability: {mean:.2f} of the rows are 1, "
    alt += f"{expected:.2f} were predicted."
    caption = (
        f"Calibration of {name}: the share of ones where each probability was predicted, by "
        f"isotonic regression; the shade holds {SHARE} of predicted datasets."
    )
    uri = figures.calibration_curve(observed, predicted, name)
    rows = _statistics(observed, predicted)
    head = ["statistic", "data are", "data", f"predicted {SHARE} from", "to"]
    return [
        page.figure(uri, alt, caption, wide=True),
        page.table(f"Statistics of {name}, data and prediction", head, rows, words=[1]),
    ]


def _survival(name: str, observed: np.ndarray, predicted: np.ndarray, events: np.ndarray) -> str:
    """Kaplan and Meier's estimate from censored data, beside the curves of predicted datasets."""
    alt = f"Survival curve of {name}, of which {np.sum(~events)} of {len(events)} rows are "
    alt += "censored, by Kaplan and Meier, and the curves of predicted datasets."
    caption = f"Share of {name} above each value: the data by Kaplan and Meier, and as predicted."
    uri = figures.survival_curve(observed, predicted, events, name)
    return page.figure(uri, alt, caption, wide=True)


def _kind(
    observed: np.ndarray, predicted: np.ndarray
) -> tuple[Callable[[np.ndarray, np.ndarray, str], str], str]:
    whole = np.all(observed == np.round(observed)) and np.all(predicted == np.round(predicted))
    if whole and np.ptp(np.append(observed, np.quantile(predicted, 0.995))) <= BARS:
        ordinal = len(np.unique(predicted)) <= CATEGORIES and observed.min() <= 1
        return figures.predictive_bars, "Categories" if ordinal else "Counts"
    if whole or len(np.unique(observed)) < 10:
        return figures.predictive_steps, "Distribution functions"
    return figures.predictive_density, "Densities"


def _statistics(observed: np.ndarray, predicted: np.ndarray) -> list[list[str]]:
    binary = set(np.unique(observed)) <= {0.0, 1.0}
    kinds = {"mean": np.mean} if binary else MOMENTS
    rows = []
    for name, of in kinds.items():
        here, (low, high) = float(of(observed)), np.quantile(of(predicted, axis=1), TAILS)
        scale = float(high - low) or None
        place = "inside" if low <= here <= high else "outside"
        rows.append([name, place, *(number(v, scale) for v in (here, low, high))])
    return rows
