"""The plain model's log likelihood of a series whose path is not Gaussian, by importance sampling.

    p(y | theta) = E_u~q  p(y, u | theta) / q(u),    q = N(u^, H^-1)

with u^ the peak of the log density and -H its second derivative there. Paths come in pairs u^ + v,
u^ - v. Shephard and Pitt 1997, "Likelihood analysis of non-Gaussian measurement time series";
Durbin and Koopman 1997, "Monte Carlo maximum likelihood estimation for non-Gaussian state space
models".
"""

from functools import partial

import jax
import numpy as np
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded, solve_banded

from amortppl.runtime.numpy_evaluation import Traced
from amortppl.task.abstract import AbstractTask
from amortppl.task.path_density import Data, Peak, density_of_path

PAIRS, AT_ONCE = 256, 32
"""Pairs of paths, and paths evaluated at once."""

HEAVIEST = 0.2
"""Share of all weights that one pair may have."""

STEPS, NEAR = 40, 1e-3
"""Of Newton's method, most steps, and the slope along a step in nats that ends it."""


def average_weights(
    task: AbstractTask, vector: np.ndarray, data: Data
) -> tuple[float, float, float]:
    """(Log prior, log likelihood, its standard error: infinite where one pair outweighs others)."""
    path, prior, factor = _find_peak(Peak(task, vector, data))
    z = np.random.default_rng(3).normal(size=(PAIRS, path.size))
    v = solve_banded((0, len(factor) - 1), _transposed(factor), z.T).T.reshape(-1, *path.shape)
    paths = np.concatenate([path + v, path - v])
    run = jax.vmap(partial(density_of_path, task), (None, None, 0))
    program = Traced(run, vector, data, paths[:AT_ONCE])
    parts = np.split(paths, len(paths) // AT_ONCE)
    heights = np.concatenate([program(vector, data, p)[0].sum(1) for p in parts])
    square = np.sum(z**2, 1) / 2 + z.shape[1] * np.log(2 * np.pi) / 2 - np.log(factor[0]).sum()
    weights = heights.reshape(2, -1) + square
    top = np.max(weights)
    each = np.exp(weights - top).mean(0)
    error = each.std() / each.mean() / np.sqrt(PAIRS)
    heavy = not each.max() <= HEAVIEST * each.sum()
    return prior, float(top + np.log(each.mean())), np.inf if heavy else float(error)


def _find_peak(peak: Peak) -> tuple[np.ndarray, float, np.ndarray]:
    """(u^, log prior, the Cholesky factor of H in lower bands)."""
    at, length = np.zeros(peak.moved.shape[1:]), 1.0
    height, prior, slope, band = peak.look(at)
    factor = _factor(band)
    for _ in range(STEPS):
        move = cho_solve_banded((factor, True), slope.ravel())
        if move @ slope.ravel() < NEAR or length < 1e-4:
            break
        new = peak.look(at + length * move.reshape(at.shape))
        if new[0] >= height:
            at, length = at + length * move.reshape(at.shape), min(1.0, 4 * length)
            height, _, slope, band = new
            factor = _factor(band)
        else:
            length /= 4
    return at, prior, factor


def _factor(band: np.ndarray) -> np.ndarray:
    """The Cholesky factor, of a matrix that is not positive definite with a larger diagonal."""
    ridge = 0.0
    while True:
        try:
            return cholesky_banded(np.vstack([band[:1] + ridge, band[1:]]), lower=True)
        except LinAlgError:
            ridge = max(4 * ridge, 1e-3 * float(np.abs(band[0]).max()))


def _transposed(factor: np.ndarray) -> np.ndarray:
    """Lower bands of L as upper bands of its transpose."""
    upper = np.zeros_like(factor)
    for k, row in enumerate(factor):
        upper[len(factor) - 1 - k, k:] = row[: len(row) - k]
    return upper
