"""The limits of the rows at hand, where a model's observations are censored.

Of a row that is censored the limit is what was observed. Of another it is not known, but beyond the
observation: a limit among those of censored rows that are, or none. Only simulated tasks use it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import numpyro.handlers as handlers
from jaxtyping import Array

from amortppl.task.censoring import with_two_ends
from amortppl.task.censoring_indicators import Indicator, read_indicators
from amortppl.task.handlers import name_arguments

FARTHEST = 1e30
"""Instead of no limit: finite, and beyond all outcomes."""


def limits_of_data(
    model: Callable[..., Any], data: Mapping[str, Any], observations: list[str]
) -> dict[str, np.ndarray]:
    """Limits by the argument that says which rows are censored.

    Args:
        model: a NumPyro model.
        data: one dataset by argument, with whole numbers for the labels of groups and their number.
        observations: arguments that are observed.
    """
    model = name_arguments(with_two_ends(model))
    arrays = {n: np.asarray(v) for n, v in data.items() if np.asarray(v).dtype.kind in "biuf"}
    like = {n: v for n, v in arrays.items() if n not in observations and _is_indicator(v)}

    def run(key: Array, values: Mapping[str, Array]) -> Any:
        return handlers.trace(handlers.seed(model, key)).get_trace(**{**data, **values})

    indicators = read_indicators(getattr(model, "__name__", "model"), run, like)
    fed = {i.site: _fed(run, i.site, {n: arrays[n] for n in observations}) for i in
           indicators.values()}  # fmt: skip
    return {
        n: _limits(i, arrays[fed[i.site]], n, indicators, arrays) for n, i in indicators.items()
    }


def _is_indicator(values: np.ndarray) -> bool:
    return values.ndim > 0 and bool(np.isin(values, (0, 1)).all())


def _fed(run: Callable[..., Any], site: str, observed: Mapping[str, np.ndarray]) -> str:
    """The observation that a site has."""
    if site in observed:
        return site
    names: list[str] = []

    def shapes(key: Array) -> None:
        value = run(key, {})[site]["value"]
        names.extend(n for n, v in observed.items() if np.shape(v) == np.shape(value))

    jax.eval_shape(shapes, jax.random.key(0))
    return names[0]


def _limits(
    indicator: Indicator,
    values: np.ndarray,
    name: str,
    indicators: Mapping[str, Indicator],
    arrays: Mapping[str, np.ndarray],
) -> np.ndarray:
    censored = arrays[name] == indicator.censored
    if "Interval" in indicator.kind:
        return _visits(indicator, values, indicators, arrays)
    if not censored.any():
        return np.full(values.shape, FARTHEST if indicator.kind.startswith("Right") else -FARTHEST)
    sign = 1.0 if indicator.kind.startswith("Right") else -1.0
    given, ordered = sign * values.astype(np.float64), np.sort(sign * values[censored])
    first, last = np.searchsorted(ordered, given, side="right"), len(ordered)
    chosen = np.random.default_rng(0).integers(np.minimum(first, last - 1), last)
    beyond = np.where(first < last, ordered[chosen], FARTHEST)
    return sign * np.where(censored, given, beyond)


def _visits(
    indicator: Indicator,
    values: np.ndarray,
    indicators: Mapping[str, Indicator],
    arrays: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The visit before an outcome, or after it; the other one where it does not exist."""
    of_site = {i.flag: (n, i) for n, i in indicators.items() if i.site == indicator.site}
    end = 0 if indicator.flag == "left_censored" else 1
    name, own = of_site[indicator.flag]
    return np.where(arrays[name] == own.censored, values[..., 1 - end], values[..., end])
