"""Integrals over the few numbers of every row, by the trapezoid rule on a lattice that is moved to
where the mass is: what judges the engine's quadrature, and shares nothing with it.

    log int exp f_i(u) du,    u = m_i + C_i sinh(z),    u in R^L,    i = 1..R

z runs over a lattice, so that a node lies up to 27 sds (L = 3) or 45 (L = 1) from m_i; m_i and
C_i C_i' are mean and covariance of exp f_i, found by the same rule: from wide nodes on, each pass
moves the lattice to the mass that the one before saw. No mode and no derivative is used, so that
two modes count both. The error is estimated by how far two lattices, one in the gaps of the other,
are apart, and by the mass at the border.

For more than three numbers the nodes are Sobol points of a Student t density with 5 degrees of
freedom (an importance sum), and the error is the Monte-Carlo one.

Trefethen and Weideman 2014, "The exponentially convergent trapezoidal rule"; Cappe, Guillin, Marin
and Robert 2004, "Population Monte Carlo".
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LATTICE = {1: (4.5, 0.25, 5), 2: (4.4, 0.4, 3), 3: (4.0, 0.5, 1)}
"""The largest z, its spacing, and how often this is halved at most, by L."""

FINE = 1e-5
"""Error of a row below which a lattice is fine enough."""

NEAR = 5.0
"""Sds up to which mass counts for mean and covariance, so that tails do not widen the lattice."""

POINTS, FREEDOM, FAR = 1024, 5, 4.0
"""Nodes where L is greater, the degrees of freedom of their density, and from where on a node
counts as at the border.
"""

LEAST = 50
"""Effective nodes that an importance sum needs."""

START, PASSES, SETTLED = 2.0, 40, 0.3
"""First scale of u; most passes that move the lattice; change, in sds, that ends them."""

Rows = Callable[[np.ndarray], np.ndarray]
"""Log densities (S, R) of R rows, each at S nodes u (S, R, L)."""


class Nodes(NamedTuple):
    """Nodes t (S, L), their log weights (S,), which count for moments, which are at the border, and
    how much more lies beyond than at the border.
    """

    at: np.ndarray
    log_weight: np.ndarray
    near: np.ndarray
    border: np.ndarray
    beyond: float


class Integral(NamedTuple):
    """Logarithms of integrals (R,), and their errors (R,): of a lattice bounds that add up, of an
    importance sum standard errors.
    """

    value: np.ndarray
    error: np.ndarray


def integrate(rows: Rows, count: int, size: int) -> Integral:
    """log int exp f_i(u) du of R = `count` rows with L = `size` numbers each."""
    mean, factor = np.zeros((count, size)), np.tile(START * np.eye(size), (count, 1, 1))
    grid = nodes(size, 0)
    at, terms = _terms(rows, grid, mean, factor)
    for _ in range(PASSES):
        centre, cover = _moved(grid, at, terms, mean, factor)
        moved = np.concatenate([(centre - mean)[..., None], cover - factor], 2)
        if np.abs(np.linalg.solve(factor, moved)).max(initial=0.0) < SETTLED:
            break
        mean, factor = centre, cover
        at, terms = _terms(rows, grid, mean, factor)
    if size not in LATTICE:
        return _weighed(rows, centre, cover)
    return _fine_sum(rows, terms, mean, factor)


def _fine_sum(rows: Rows, terms: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> Integral:
    """The sum over a lattice, whose terms (S, R) are there, that is made finer until its gaps hold
    what they should.
    """
    size = mean.shape[1]
    value, beyond = _sum(nodes(size, 0), terms)
    error = np.full(len(value), np.inf)
    for level in range(LATTICE[size][2]):
        grid = nodes(size, 1, level)
        between, _ = _sum(grid, _terms(rows, grid, mean, factor)[1])
        error = np.abs(value - between)
        value = np.logaddexp(value, between) - np.log(2)
        if error.max(initial=0.0) < FINE:
            break
    return Integral(value, error + beyond)


def _weighed(rows: Rows, mean: np.ndarray, factor: np.ndarray) -> Integral:
    """The importance sum over fresh nodes; its error is infinite where few of them count."""
    _, terms = _terms(rows, nodes(mean.shape[1], 1), mean, factor)
    value = _log_sum(terms)
    squares = np.square(np.exp(terms - np.where(np.isfinite(value), value, 0.0))).sum(0)
    noise = np.sqrt(np.maximum(squares - 1 / POINTS, 0))
    return Integral(value, np.where(squares > 1 / LEAST, np.inf, noise))


def add_errors(error: np.ndarray, size: int) -> np.ndarray:
    """What adds up over rows (..., R) of their errors: bounds, or squares of standard errors."""
    return (error if size in LATTICE else np.square(error)).sum(-1)


def total_error(added: np.ndarray, size: int) -> np.ndarray:
    """The error of a sum over rows, from what `add_errors` added up: bounds, or four standard
    errors.
    """
    return added if size in LATTICE else 4 * np.sqrt(added)


@lru_cache
def nodes(size: int, half: int, level: int = 0) -> Nodes:
    """The nodes, and (`half` = 1) those in the gaps between them, after `level` halvings."""
    if size not in LATTICE:
        from scipy.stats import qmc  # takes half a second
        from scipy.stats import t as student

        uniform = qmc.Sobol(size, seed=17 + half).random(POINTS)
        at = student.ppf(np.clip(uniform, 1e-9, 1 - 1e-9), FREEDOM)
        weight = -student.logpdf(at, FREEDOM).sum(-1) - np.log(POINTS)
        return Nodes(at, weight, np.ones(POINTS, bool), np.abs(at).max(-1) > FAR, 0.0)
    widest, step = LATTICE[size][0], LATTICE[size][1] / 2**level
    count = round(widest / step)
    line = step * (np.arange(-count, count + 1) + 0.5 * half)
    z = np.stack(np.meshgrid(*[line] * size, indexing="ij"), -1).reshape(-1, size)
    weight = np.log(np.cosh(z) * step).sum(-1)
    size_of = np.abs(z).max(-1)
    border = size_of > widest - 0.6 * step
    return Nodes(np.sinh(z), weight, np.sinh(size_of) < NEAR, border, 1 / step)


def _terms(rows: Rows, grid: Nodes, mean: np.ndarray, factor: np.ndarray) -> tuple:
    """Nodes u (R, S, L), and log of density times weight at each (S, R)."""
    at = mean[:, None] + grid.at @ np.swapaxes(factor, 1, 2)
    volume = np.log(np.diagonal(factor, 0, 1, 2)).sum(1)
    heights = rows(np.swapaxes(at, 0, 1))
    heights = np.where(np.isnan(heights), -np.inf, heights)
    return at, heights + grid.log_weight[:, None] + volume


def _moved(
    grid: Nodes, at: np.ndarray, terms: np.ndarray, mean: np.ndarray, factor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and Cholesky factor of what the nodes see; never narrower than their own spacing, and
    wider where the best node is at the border.
    """
    peak = terms.max(0)
    weight = grid.near[:, None] * np.exp(terms - np.where(np.isfinite(peak), peak, 0.0))
    weight /= np.maximum(weight.sum(0), 1e-300)
    of_rows = np.ascontiguousarray(weight.T)[:, :, None]
    centre = (of_rows * at).sum(1)
    off = at - centre[:, None]
    cover = np.swapaxes(of_rows * off, 1, 2) @ off
    gap = LATTICE.get(mean.shape[1], (0, 0.6, 0))[1]
    before = factor @ np.swapaxes(factor, 1, 2)
    few = np.square(weight).sum(0) > 1 / (2 * mean.shape[1] + 2)
    floor = np.where(few, (gap / 2) ** 2, 1e-6)
    factors = np.linalg.cholesky(cover + floor[:, None, None] * before)
    best = terms.argmax(0)
    wide = grid.border[best] | (weight.sum(0) < 0.5)
    centre[wide] = at[np.arange(len(best)), best][wide]
    factors[wide] = 2 * factor[wide]
    lost = ~np.isfinite(peak)
    centre[lost], factors[lost] = mean[lost], factor[lost] / 2
    return centre, factors


def _sum(grid: Nodes, terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log integral (R,), and what may lie beyond the border, relative to it."""
    value = _log_sum(terms)
    level = np.where(np.isfinite(value), value, 0.0)
    return value, grid.beyond * np.exp(terms[grid.border] - level).sum(0)


def _log_sum(terms: np.ndarray) -> np.ndarray:
    """log sum_s exp(terms) (R,); SciPy's takes several times as long for few numbers."""
    peak = terms.max(0)
    level = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(terms - level).sum(0)) + level
