"""Pareto smoothing of the largest importance weights of many datasets at once.

Vehtari, Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling", JMLR 25(72);
the fit of Zhang and Stephens 2009, "A new and efficient estimation method for the generalized
Pareto distribution", Technometrics 51(3), with their weakly informative prior for k. The numbers
are those of ArviZ's `psislw`, which takes one dataset at a time.
"""

import numpy as np

TOGETHER = 64
"""Datasets whose tails are fitted at once: what they need stays in a core's cache."""

FEWEST = 5
"""Draws of a tail, at least."""

PRIOR_SCALE, PRIOR_DRAWS, PRIOR_SHAPE = 3, 10, 0.5
"""Of the prior of the scale; and that of k, so many draws of a tail with this k."""


def smooth_tails(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log weights whose largest are replaced by quantiles of a Pareto tail, and its shape k.

    Args:
        ratios: log weights, finite, up to a constant, (T, S).

    Returns:
        Log weights (T, S), relative to the largest, not normalised, and k-hat (T,), which is NaN
        where no tail can be fitted (fewer than 25 draws, equal weights); these stay as they were.

    Example:
        >>> normal = np.random.default_rng(0).standard_normal((2, 1000))
        >>> smooth_tails(normal)[1].round(1).tolist()  # log-normal weights
        [0.4, 0.2]
    """
    parts = [smooth(ratios[i : i + TOGETHER]) for i in range(0, len(ratios), TOGETHER)]
    return np.concatenate([w for w, _ in parts]), np.concatenate([k for _, k in parts])


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of exponentials along the last axis, kept; a tenth of the time of
    `np.logaddexp.reduce`.

    >>> log_sum_exp(np.log([[0.25, 0.75], [1.0, 1.0]])).round(2).tolist()
    [[0.0], [0.69]]
    """
    peak = values.max(-1, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - peak).sum(-1, keepdims=True)) + peak


def tail_length(draws: int) -> int:
    """How many draws make up the tail."""
    return int(3 * draws**0.5 if draws > 225 else draws / 5)


def smooth(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`smooth_tails` of few datasets."""
    count, draws = ratios.shape
    ratios = ratios - ratios.max(1, keepdims=True)
    length = tail_length(draws)
    if length < FEWEST:
        return ratios, np.full(count, np.nan)
    order = np.argsort(ratios, 1)
    tail = order[:, -length:]
    logs = np.take_along_axis(ratios, tail, 1)
    cutoff = np.exp(np.take_along_axis(ratios, order[:, -length - 1, None], 1))
    with np.errstate(all="ignore"):
        shape, scale = fit_pareto(np.exp(logs) - cutoff)
        quantiles = np.log(_quantiles(length, shape[:, None], scale[:, None], cutoff))
    equal = logs[:, -1] - logs[:, 0] < np.finfo(float).tiny
    shape = np.where(equal, np.nan, shape)
    kept = ~np.isfinite(shape)[:, None] | np.isnan(quantiles)
    np.put_along_axis(ratios, tail, np.where(kept, logs, np.minimum(quantiles, logs[:, -1:])), 1)
    return ratios, shape


def fit_pareto(tail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape and scale (T,) of generalized Pareto tails (T, N), each sorted; NaN where a quarter of
    it is the smallest."""
    length = tail.shape[1]
    points = 30 + int(length**0.5)
    quartile = tail[:, int(length / 4 - 0.5), None]
    grid = 1 - np.sqrt(points / (np.arange(1.0, points + 1) - 0.5))
    at = grid / (PRIOR_SCALE * quartile) + 1 / tail[:, -1:]
    mean = np.log1p(-at[..., None] * tail[:, None]).mean(2)
    height = length * (np.log(-at / mean) - mean - 1)
    weights = np.exp(height - height.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    weights = np.where(weights >= 10 * np.finfo(float).eps, weights, 0.0)
    best = (at * weights).sum(1) / weights.sum(1)
    shape = np.log1p(-best[:, None] * tail).mean(1)
    scale = -shape / best
    shape = (length * shape + PRIOR_DRAWS * PRIOR_SHAPE) / (length + PRIOR_DRAWS)
    shape = np.where(np.isnan(shape), np.inf, shape)
    return np.where(quartile[:, 0] <= tail[:, 0], np.nan, shape), scale


def _quantiles(length: int, shape: np.ndarray, scale: np.ndarray, cutoff: np.ndarray) -> np.ndarray:
    """Quantiles (T, N) of tails beyond their cutoffs; NaN where the scale is none."""
    log_rest = np.log1p(-(np.arange(length) + 0.5) / length)
    beyond = np.where(shape == 0, -log_rest, np.expm1(-shape * log_rest) / shape)
    return np.where(scale > 0, cutoff + scale * beyond, np.nan)
