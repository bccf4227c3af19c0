"""Missing cells: refused, dropped, or imputed; rows without an outcome are predicted."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.errors import DataError, quoted
from amortppl.formula.design import Design
from amortppl.formula.program import Imputed

WAYS = ("error", "drop", "impute")
"""What to do about missing cells of predictors."""


class Rows(NamedTuple):
    """Rows of the table by their use.

    Attributes:
        fitted: places of the rows that are fitted.
        predicted: places of those whose outcome is missing.
        notes: what was left out, in words.
    """

    fitted: np.ndarray
    predicted: np.ndarray
    notes: list[str]


def choose_rows(
    frame: pd.DataFrame, names: Sequence[str], outcome_missing: np.ndarray, way: str
) -> Rows:
    """Which rows are fitted and which predicted.

    Args:
        frame: the table.
        names: columns of the predictors.
        outcome_missing: which rows lack the outcome.
        way: `error`, `drop` or `impute`.

    Raises:
        DataError: cells are missing and nobody said what to do; or no row is left.
    """
    if way not in WAYS:
        raise DataError(f"missing: expected one of {quoted(WAYS)}, got {way!r}")
    holes = frame[list(names)].isna()
    incomplete = holes.any(axis=1).to_numpy()
    notes = []
    if incomplete.any() and way == "error":
        counts = ", ".join(f"{n!r} in {c} rows" for n, c in holes.sum().items() if c)
        raise DataError(
            f"data: missing cells: {counts}. Say missing='drop' (--missing drop) to leave out "
            f"{incomplete.sum()} of {len(frame)} rows, or 'impute' to infer cells of numbers"
        )
    if way == "impute":
        _expect_numbers(frame, [n for n in names if holes[n].any()])
    keep = ~incomplete if way == "drop" else np.ones(len(frame), bool)
    if way == "drop" and incomplete.any():
        notes.append(f"{incomplete.sum()} of {len(frame)} rows left out: predictors are missing")
    fitted = np.flatnonzero(keep & ~outcome_missing)
    predicted = np.flatnonzero(outcome_missing & ~incomplete)
    if not len(fitted):
        raise DataError("data: no row is complete, so that none can be fitted")
    if len(predicted):
        notes.append(f"{len(predicted)} rows without an outcome are predicted")
    neither = int((outcome_missing & incomplete).sum())
    if neither and way == "impute":
        notes.append(f"{neither} rows left out: they lack the outcome and predictors")
    return Rows(fitted, predicted, notes)


def _expect_numbers(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuses to impute columns without a distribution to do so by."""
    for name in names:
        numeric = pd.api.types.is_float_dtype(frame[name].dtype)
        if numeric and frame[name].notna().any():
            continue
        reason = "every cell is missing" if numeric else "it is no numeric column"
        hint = "leave it out of the formula" if numeric else "say missing='drop' (--missing drop)"
        raise DataError(f"missing: {name!r} cannot be imputed, {reason}; {hint}")


def cells_to_impute(
    design: Design, frame: pd.DataFrame, names: Sequence[str], taken: set[str]
) -> tuple[tuple[Imputed, ...], dict[str, np.ndarray]]:
    """The columns with missing cells, and for each row the number of its cell (or their count).

    Raises:
        DataError: a column with missing cells is no plain numeric term.
    """
    imputed: list[Imputed] = []
    numbers: dict[str, np.ndarray] = {}
    for name in names:
        holes = frame[name].isna().to_numpy()
        if not holes.any():
            continue
        _expect_plain(name, design)
        place, argument = design.columns.index(name), _argument(name, taken)
        observed = frame[name][~holes].to_numpy(float)
        spread = float(observed.std()) if len(observed) > 1 and observed.std() > 0 else 1.0
        count = int(holes.sum())
        imputed.append(Imputed(argument, place, count, float(observed.mean()), spread))
        numbers[argument] = np.where(holes, np.cumsum(holes) - 1, count).astype(np.int32)
    return tuple(imputed), numbers


def _expect_plain(name: str, design: Design) -> None:
    users = [t for t in {*design.terms, *_group_terms(design)} if _names(t, name)]
    if users != [name]:
        raise DataError(
            f"missing: {name!r} has missing cells and is used in {quoted(users)}; only columns "
            "that stand alone in the formula are imputed. Say missing='drop' (--missing drop)"
        )


def _group_terms(design: Design) -> list[str]:
    return [t for g in design.groups for t in (g.factor, *g.terms) if t != "Intercept"]


def _names(term: str, name: str) -> bool:
    import re

    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", term) is not None


def _argument(name: str, taken: set[str]) -> Any:
    import re

    argument = f"{re.sub(r'\W+', '_', name)}_missing"
    while argument in taken:
        argument += "_"
    taken.add(argument)
    return argument
