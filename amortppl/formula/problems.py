"""What a table does not tell about a formula: said in words, where a prior still answers."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from amortppl.errors import DataError
from amortppl.formula.censored import NO_LIMIT
from amortppl.formula.design import Design, Group
from amortppl.formula.families import FAMILIES
from amortppl.formula.outcome import Outcome
from amortppl.formula.scaling import Scaling

SAME = 1e-7
"""Largest part of a standardised column that counts as none once others are taken from it."""

LARGEST = 400_000
"""Cells of a design up to which it is searched for separation (a linear program)."""


def expect_variation(outcome: Outcome, family: str) -> None:
    """Refuses an outcome that is the same in every row, where its spread is to be inferred.

    A shape or precision then has a likelihood without bound, and a posterior that is none.

    Raises:
        DataError: saying so.
    """
    kind, values = FAMILIES[family], outcome.values
    if outcome.limit is not None:
        values = values[outcome.limit == NO_LIMIT]
    has_shape = kind.outcome in ("positive", "share") and kind.parameters
    alike = len(values) > 0 and np.ptp(values) == 0.0
    if alike and (kind.scaled or (has_shape and len(values) > 1)):
        what = "there is one row" if len(values) == 1 else f"every row is {values[0]:g}"
        raise DataError(
            f"formula: the outcome {outcome.name!r} does not vary ({what}), so that the family "
            f"{family!r} has no spread to infer; give at least two rows that differ"
        )


def notes_on(design: Design, scaling: Scaling, outcome: Outcome, family: str) -> list[str]:
    """Sentences on constant and collinear columns, single groups, constancy and separation."""
    standard = scaling.standardize(design.matrix)
    notes = [
        f"the column {name!r} is the same in every row: its coefficient is the prior's alone"
        for name, values in zip(design.columns, standard.T, strict=True)
        if design.intercept and np.ptp(values) == 0.0
    ]
    notes += _levels(design) + _collinear(design, standard)
    notes += [
        f"{g.factor!r} has a single level: the prior alone tells the sd of its effects"
        for g in design.groups
        if len(g.levels) == 1
    ]
    notes += _alike(design.groups)
    if np.ptp(outcome.values) == 0.0:
        notes.append(f"the outcome {outcome.name!r} is the same in every row")
    elif family == "bernoulli":
        notes += _separation(design, standard, outcome)
    return notes


def _alike(groups: Sequence[Group]) -> list[str]:
    """Pairs of groupings with the same rows in each group: as many pairs of levels as levels."""
    return [
        f"{a.factor!r} and {b.factor!r} group the rows alike: the priors alone tell their sds "
        "apart. In (1 | school/class) the larger group comes first"
        for a, b in combinations(groups, 2)
        if a.factor != b.factor
        and len(a.levels) == len(b.levels)
        and len(np.unique(np.stack([a.index, b.index]), axis=1).T) == len(a.levels)
    ]


def _levels(design: Design) -> list[str]:
    """Factors of a single level, and those with as many levels as there are rows."""
    terms = design.source.common.terms.values() if design.source.common else []
    factors = {t.name: len(t.labels) for t in terms if t.kind == "categoric"}
    notes = [
        f"{name!r} has a single level, and so no coefficient"
        for name, columns in factors.items()
        if not columns
    ]
    return notes + [
        f"{name!r} has a level for every row: is it a name or a number of the row?"
        for name, columns in factors.items()
        if columns > 1 and columns + design.intercept >= len(design.matrix)
    ]


def _collinear(design: Design, standard: np.ndarray) -> list[str]:
    """Columns that are sums of multiples of those before them."""
    first = [np.ones((len(standard), 1))] if design.intercept else []
    names = (["Intercept"] if first else []) + list(design.columns)
    matrix = np.concatenate([*first, standard], 1)
    if not 1 < matrix.shape[1] <= matrix.shape[0]:
        return []
    triangle = np.linalg.qr(matrix / np.sqrt(len(matrix)), mode="r")
    notes, independent = [], []
    for j, name in enumerate(names):
        if abs(triangle[j, j]) > SAME or np.ptp(matrix[:, j]) == 0.0:
            independent.append(j)
            continue
        solved = np.linalg.lstsq(matrix[:, independent], matrix[:, j], rcond=None)[0]
        others = [names[i] for i, c in zip(independent, solved, strict=True) if abs(c) > 1e-6]
        notes.append(
            f"the column {name!r} follows from {', '.join(map(repr, others))}: the data tell their "
            "sum, and the priors how it is shared"
        )
    return notes


def _separation(design: Design, standard: np.ndarray, outcome: Outcome) -> list[str]:
    """Whether a sum of columns tells all outcomes apart (Konis 2007, by a linear program)."""
    if not 0 < standard.size <= LARGEST:
        return []
    from scipy.optimize import linprog

    first = [np.ones((len(standard), 1))] if design.intercept else []
    signed = (2.0 * outcome.values - 1.0)[:, None] * np.concatenate([*first, standard], 1)
    best = linprog(-signed.sum(0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=(-1, 1))
    if not best.success or -best.fun < 1e-6:
        return []
    names = (["Intercept"] if first else []) + list(design.columns)
    used = [
        repr(n) for n, b in zip(names, best.x, strict=True) if abs(b) > 1e-6 and n != "Intercept"
    ]
    return [
        f"{', '.join(used[:5])} separate the levels of {outcome.name!r} perfectly: the data bound "
        "these coefficients on one side only, and the prior on the other"
    ]
