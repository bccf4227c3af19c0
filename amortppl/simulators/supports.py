"""The support of a latent, read off draws of it where nobody says it."""

import numpy as np
from numpyro.distributions import constraints
from numpyro.distributions.constraints import Constraint

from amortppl.errors import DataError

EDGE, LEAST = 0.02, 0.25
"""A side of the draws is an edge if their outermost `EDGE` of the range holds at least `LEAST` of
what it would under a uniform distribution. Of 1,000 draws of a normal distribution it holds 0.1."""

COUNTED = 20
"""A target of so few values is discrete."""

FEWEST = 500
"""Draws from which edges are told; of fewer, a normal distribution seems to have some."""


def infer_support(draws: np.ndarray) -> Constraint:
    """The support of draws (M, ...) of one latent: the real line, a half line or an interval.

    An edge just beyond zero is taken to be at zero, others at a round number nearby. All entries of
    a latent get one support, which has an edge only where all have it. Fewer than `FEWEST` draws
    are on the real line.

    >>> rng = np.random.default_rng(0)
    >>> infer_support(rng.normal(size=1000)), infer_support(rng.exponential(size=1000))
    (Real(), Positive(lower_bound=0.0))
    >>> infer_support(rng.uniform(-1, 1, 1000))
    Interval(lower_bound=-1.0, upper_bound=1.0)
    """
    columns = draws.reshape(len(draws), -1).astype(np.float64)
    low, high = lower_edge(columns), lower_edge(-columns)
    event = draws.ndim - 1
    if low is None and high is None:
        support = constraints.real
    elif high is None:
        support = constraints.positive if low == 0.0 else constraints.greater_than(low)
    elif low is None:
        support = constraints.less_than(-high)
    else:
        support = constraints.interval(low, -high)
    return constraints.independent(support, event) if event else support


def expect_many_values(name: str, draws: np.ndarray) -> None:
    """Refuses draws (M, ...) of a target that can be counted.

    Raises:
        DataError: an entry has no more than `COUNTED` values in many more draws.
    """
    columns = draws.reshape(len(draws), -1)
    values = [len(np.unique(c)) for c in columns.T if len(c) > 10 * COUNTED]
    if values and min(values) <= COUNTED:
        raise DataError(
            f"simulations: the target {name!r} has an entry with {min(values)} values in "
            f"{len(draws)} simulations, so it is discrete, and the posterior of a target needs a "
            "density. Leave it out (targets=), and it is integrated out; to choose among values, "
            "make a task of each and ask ap.compare_models"
        )


def lower_edge(columns: np.ndarray) -> float | None:
    """The lower end of the columns' (M, F) distribution, None where there is none."""
    low, width = columns.min(0), np.ptp(columns, 0)
    share = np.mean(columns <= low + EDGE * width, 0)
    if len(columns) < FEWEST or not np.all((share >= LEAST * EDGE) & (width > 0)):
        return None
    gap = float(np.max(width) * 10 / len(columns))
    at = float(low.min())
    if 0.0 <= at <= EDGE * float(width.max()):
        return 0.0
    digits = int(np.ceil(-np.log10(gap))) if gap > 0 else 6
    # Outwards to a round number, if there is one within what so many draws leave free.
    for places in range(min(digits, 0), digits + 2):
        bound = float(np.floor(at * 10.0**places) / 10.0**places)
        if at - bound <= gap:
            return bound
    return at - gap
