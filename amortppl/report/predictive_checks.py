"""Posterior predictive checks of a report: figures and a few statistics, chosen by the kind of
data.

Gelman, Meng and Stern 1996, "Posterior predictive assessment of model fitness", Statistica Sinica
6.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr

from amortppl.report import figures, page
from amortppl.report.summary import CREDIBLE, MOMENTS, TAILS, number

DRAWS = 400
"""Predictive datasets that the check uses."""

SHARE = f"{100 * CREDIBLE:.0f}%"

SAID = (
    "Datasets predicted by the posterior should look like the data. Where they do not, while k-hat "
    "is good, "
    "the model is at fault and not the guide."
)

BARS = 40
"""Distinct whole numbers up to which counts are drawn as bars."""


def predictive_check(tree: xr.DataTree) -> list[str]:
    """For each observation a figure and a table of statistics; nothing without predictive draws."""
    if "posterior_predictive" not in tree.children or "observed_data" not in tree.children:
        return []
    predicted, observed = tree["posterior_predictive"].dataset, tree["observed_data"].dataset
    parts = [page.paragraph(SAID)]
    for name in observed.data_vars:
        if name in predicted:
            parts += _check(
                str(name), np.asarray(observed[name], float).ravel(), _draws(predicted[name])
            )
    return parts if len(parts) > 1 else []


def _draws(values: xr.DataArray) -> np.ndarray:
    """(chain, draw, ...) -> (S, N), thinned to `DRAWS`."""
    flat = np.asarray(values.transpose("chain", "draw", ...), float)
    flat = flat.reshape(flat.shape[0] * flat.shape[1], -1)
    return flat[np.linspace(0, len(flat) - 1, min(DRAWS, len(flat))).astype(int)]


def _check(name: str, observed: np.ndarray, predicted: np.ndarray) -> list[str]:
    known = np.isfinite(observed)
    observed, predicted = observed[known], predicted[:, known]
    predicted = predicted[np.isfinite(predicted).all(1)]
    if not len(observed) or not len(predicted):
        return []
    draw, kind = _kind(observed, predicted)
    rows = _statistics(observed, predicted)
    outside = [s[0] for s in rows if s[1] == "outside"]
    said = (
        f"Outside the predicted {SHARE} interval: {', '.join(outside)}."
        if outside
        else "All statistics lie inside."
    )
    alt = f"{kind} of {name} in the data and as predicted. {said}"
    shown = (
        "medians and intervals for predictions"
        if draw is figures.predictive_bars
        else "over predicted datasets"
    )
    head = ["statistic", "data are", "data", f"predicted {SHARE} from", "to"]
    return [
        page.figure(
            draw(observed, predicted, name),
            alt,
            f"{kind} of {name}: the data, {shown}. {said}",
            wide=True,
        ),
        page.table(f"Statistics of {name}, data and prediction", head, rows, words=[1]),
    ]


def _kind(
    observed: np.ndarray, predicted: np.ndarray
) -> tuple[Callable[[np.ndarray, np.ndarray, str], str], str]:
    whole = np.all(observed == np.round(observed)) and np.all(predicted == np.round(predicted))
    if whole and np.ptp(np.append(observed, np.quantile(predicted, 0.995))) <= BARS:
        return figures.predictive_bars, "Counts"
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
        said = "inside" if low <= here <= high else "outside"
        rows.append([name, said, *(number(v, scale) for v in (here, low, high))])
    return rows
