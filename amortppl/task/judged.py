"""What a judge of log densities offers: the plain model apart from the engine's arithmetic."""

from typing import Any, NamedTuple, Protocol

import numpy as np


class Judged(NamedTuple):
    """Log priors (K,), log likelihoods of rows (K, B) and errors of these (K, B), of K pieces."""

    prior: np.ndarray
    rows: np.ndarray
    error: np.ndarray


class LogDensityJudge(Protocol):
    """The log density of a task's model, by `amortppl.task.judge`.

    Attributes:
        size: numbers that each row has of its own and that are integrated out.
        reason: why the density cannot be computed; empty where it can.
        tables, layout: of discrete latents that are summed out; `tables` is None without any.
        width: evaluations that a row takes at once.
    """

    size: int
    reason: str
    tables: Any
    layout: Any
    width: int

    def log_densities(self, vectors: np.ndarray, data: dict[str, np.ndarray]) -> Judged:
        """Log priors and log likelihoods of K pieces of rows, each at its own vector (K, P)."""
        ...
