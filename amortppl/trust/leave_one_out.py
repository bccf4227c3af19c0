"""Leave-one-out cross-validation of all rows at once, from independent draws of a posterior.

Vehtari, Gelman and Gabry 2017, "Practical Bayesian model evaluation using leave-one-out
cross-validation and WAIC", Statistics and Computing 27.
"""

from typing import NamedTuple

import numpy as np

from amortppl.trust.pareto import TOGETHER, smooth


class LeaveOneOut(NamedTuple):
    """What the other rows predict of each row.

    Attributes:
        elpd: log p(y_i | y_-i) in nats, (N,).
        k: Pareto k of the weights 1 / p(y_i | theta_s), (N,); infinite where one draw has them all.
        effective: number of effective parameters, sum_i log p(y_i | y) - elpd_i.
        limit: k above which a row's elpd is not reliable, with so many draws.
    """

    elpd: np.ndarray
    k: np.ndarray
    effective: float
    limit: float

    @property
    def se(self) -> float:
        """Standard error of the sum of `elpd`."""
        return standard_error(self.elpd)


def standard_error(each: np.ndarray) -> float:
    """Of the sum of independent numbers (N,); NaN of one."""
    return float(each.std(ddof=1) * np.sqrt(len(each))) if len(each) > 1 else float("nan")


def leave_one_out(log_likelihood: np.ndarray) -> LeaveOneOut:
    """PSIS-LOO; the numbers are those of ArviZ's `loo` with `reff=1`, which takes row after row.

    Args:
        log_likelihood: log p(y_i | theta_s) of independent draws, (S, N), finite.

    Example:
        >>> draws = np.random.default_rng(0).normal(0.5, 0.5, (1000, 1))  # of a mean given [0, 1]
        >>> loo = leave_one_out(-0.5 * (np.array([0.0, 1.0]) - draws) ** 2)
        >>> bool((loo.k < loo.limit).all())
        True
    """
    count, rows = log_likelihood.shape
    parts = [
        _some_rows(log_likelihood[:, i : i + TOGETHER].T.astype(np.float64))
        for i in range(0, rows, TOGETHER)
    ]
    elpd, k, within = (np.concatenate(each) for each in zip(*parts, strict=True))
    limit = min(1 - 1 / np.log10(max(count, 2)), 0.7)
    return LeaveOneOut(elpd, k, float((within - elpd).sum()), float(limit))


def _some_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elpd, Pareto k, and log p(y_i | y) of rows (N, S)."""
    weights, k = smooth(-values)
    weights = weights - np.logaddexp.reduce(weights, 1, keepdims=True)
    within = np.logaddexp.reduce(values, 1) - np.log(values.shape[1])
    return np.logaddexp.reduce(weights + values, 1), np.where(np.isnan(k), np.inf, k), within
