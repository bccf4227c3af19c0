"""What stands before the `~`: values of the outcome, checked against the family's support."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.errors import DataError, quoted
from amortppl.formula.censored import NO_LIMIT
from amortppl.formula.families import FAMILIES
from amortppl.formula.table import expect_columns
from amortppl.formula.terms import evaluate_numbers

TWO_PLACES = re.compile(r"^(p|prop|proportion|censored|weighted)\s*\((.*),([^,]*)\)$", re.S)
"""Calls of two arguments before the `~`."""

LEVEL = re.compile(r"^(`[^`]+`|[\w.]+)\s*\[\s*['\"]?([^'\"\]]+)['\"]?\s*\]$")
"""`outcome[level]`: the level that is a success."""

NOT_CENSORED, CENSORED = ("none", "event", "observed"), ("right", "censored")
"""Words for whether the time of a row was observed."""


class Outcome(NamedTuple):
    """The outcome of each row.

    Attributes:
        name: what it is called.
        values: (N,), NaN or -1 where it is missing; numbers of levels for levels.
        missing: which rows lack it.
        levels: names of the levels, or of failure and success; empty for numbers.
        trials: (N,), of binomials.
        trials_term: what they are, as the formula has it.
        limit: (N,), above which the true value is not known, `NO_LIMIT` where it is.
        weights: (N,).
    """

    name: str
    values: np.ndarray
    missing: np.ndarray
    levels: tuple[str, ...] = ()
    trials: np.ndarray | None = None
    trials_term: str = ""
    limit: np.ndarray | None = None
    weights: np.ndarray | None = None


class Support(NamedTuple):
    """Values that an outcome may have, and in words."""

    inside: Callable[[np.ndarray], np.ndarray]
    words: str


def whole(values: np.ndarray) -> np.ndarray:
    """Which values are whole numbers."""
    return values == np.round(values)


SUPPORTS = {
    "real": Support(np.isfinite, "finite numbers"),
    "positive": Support(lambda v: np.isfinite(v) & (v > 0), "numbers above 0"),
    "share": Support(lambda v: (v > 0) & (v < 1), "numbers between 0 and 1, the ends left out"),
    "count": Support(lambda v: np.isfinite(v) & whole(v) & (v >= 0), "whole numbers from 0 up"),
    "binary": Support(lambda v: (v == 0) | (v == 1), "0 and 1, or two levels"),
    "successes": Support(
        lambda v: np.isfinite(v) & whole(v) & (v >= 0), "whole numbers from 0 to the trials"
    ),
}
"""Supports by name; `levels` has any."""

FITTING = ("bernoulli", "poisson", "beta", "gamma", "gaussian")
"""Families named to the user when an outcome lies outside the support of theirs, in this order."""


def read_outcome(text: str, frame: pd.DataFrame, family: str) -> Outcome:
    """The outcome of a formula.

    Args:
        text: what stands before the `~`: a column, a function of one, `column[level]`,
            `p(successes, trials)`, `censored(time, event)` or `weighted(outcome, weight)`.
        frame: the table.
        family: a name of `FAMILIES`.

    Raises:
        DataError: naming the row and the value outside the family's support, and which would fit.
    """
    call = TWO_PLACES.match(text)
    kind, first, second = call.groups() if call else ("", text, "")
    if kind == "weighted":
        weights = evaluate_numbers(second.strip(), frame)
        _expect(weights, (weights >= 0) & np.isfinite(weights), "weights", "numbers from 0 up")
        return read_outcome(first.strip(), frame, family)._replace(weights=weights)
    _expect_kind(kind, family)
    outcome = _values(first.strip(), frame, family)
    if kind == "censored":
        beyond = _censored(frame, second.strip()) == 1
        outcome = outcome._replace(limit=np.where(beyond, outcome.values, NO_LIMIT))
    if FAMILIES[family].outcome == "successes":
        term = second.strip()
        trials = read_trials(term, frame)
        _expect_enough(outcome, trials)
        outcome = outcome._replace(trials=trials, trials_term=term)
    return outcome


def _expect_kind(kind: str, family: str) -> None:
    if kind == "censored" and not FAMILIES[family].censored:
        allowed = [n for n, f in FAMILIES.items() if f.censored]
        raise DataError(
            f"formula: censored(...) is understood for the families {quoted(allowed)}, not "
            f"{family!r}"
        )
    if kind in ("p", "prop", "proportion") and family != "binomial":
        raise DataError(f"formula: {kind}(successes, trials) needs family='binomial'")
    if not kind and family == "binomial":
        raise DataError(
            "formula: the family 'binomial' needs p(successes, trials) before the '~'; for 0 and 1 "
            "use family='bernoulli'"
        )


def _values(text: str, frame: pd.DataFrame, family: str) -> Outcome:
    """Values by the kind of the family's outcome."""
    kind = FAMILIES[family].outcome
    named = LEVEL.match(text)
    column = (named.group(1) if named else text).strip("`")
    if column in frame and (named or kind == "levels" or not _numeric(frame[column])):
        return _of_levels(column, frame[column], named and named.group(2), kind, family)
    if named:
        expect_columns(frame, [column], "formula")
    if kind == "levels":
        expect_columns(frame, [column], "formula")
    values = evaluate_numbers(text, frame)
    missing = np.isnan(values)
    support = SUPPORTS[kind]
    if not support.inside(values[~missing]).all():
        _refuse(text, values, missing, family, support)
    return Outcome(column, values, missing)


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) and not isinstance(
        column.dtype, pd.CategoricalDtype
    )


def _of_levels(name: str, column: pd.Series, success: Any, kind: str, family: str) -> Outcome:
    """An outcome of levels, as numbers of these."""
    missing = column.isna().to_numpy()
    if isinstance(column.dtype, pd.CategoricalDtype):
        levels = [c for c in column.cat.categories if (column == c).any()]
    else:
        levels = sorted(column[~missing].unique())
    if success is not None:
        return _success(name, column, missing, levels, str(success))
    if kind != "levels" and not (kind == "binary" and len(levels) <= 2):
        one = "bernoulli" if len(levels) <= 2 else "categorical"
        raise DataError(
            f"formula: the outcome {name!r} has the levels {quoted(map(str, levels[:6]))}, and the "
            f"family {family!r} needs {SUPPORTS[kind].words}; family={one!r} would fit"
        )
    if len(levels) < 2:
        raise DataError(
            f"formula: every row of the outcome {name!r} is {levels[0]!r}"
            if levels
            else f"formula: every row of the outcome {name!r} is missing"
        )
    numbers = {level: i for i, level in enumerate(levels)}
    values = np.array([numbers.get(v, -1) for v in column.astype(object)])
    return Outcome(name, values, missing, tuple(map(str, levels)))


def _success(
    name: str, column: pd.Series, missing: np.ndarray, levels: Sequence[Any], success: str
) -> Outcome:
    if success not in map(str, levels):
        raise DataError(
            f"formula: {success!r} is no level of {name!r} (it has {quoted(map(str, levels))})"
        )
    values = np.where(missing, -1, column.astype(object).map(str).to_numpy() == success)
    return Outcome(name, values.astype(int), missing, (f"not {success}", success))


def _refuse(
    text: str, values: np.ndarray, missing: np.ndarray, family: str, support: Support
) -> None:
    row = int(np.flatnonzero(~missing & ~support.inside(values))[0])
    count = int((~support.inside(values[~missing])).sum())
    fitting = [n for n in FITTING if SUPPORTS[FAMILIES[n].outcome].inside(values[~missing]).all()]
    hint = f"; family={' or '.join(map(repr, fitting[:2]))} would fit" if fitting else ""
    raise DataError(
        f"formula: the outcome {text!r} is {values[row]:g} in row {row} ({count} such rows), and "
        f"the family {family!r} needs {support.words}{hint}"
    )


def _censored(frame: pd.DataFrame, text: str) -> np.ndarray:
    """1 where the true value lies beyond: of words, or of 1 for an event as in R's `Surv`."""
    column = frame.get(text)
    if column is not None and not _numeric(column) and column.dtype != bool:
        words = column.astype(object).map(lambda v: str(v).lower()).to_numpy()
        is_valid = np.isin(words, [*NOT_CENSORED, *CENSORED])
        if not is_valid.all():
            row = int(np.flatnonzero(~is_valid)[0])
            raise DataError(
                f"formula: the status {text!r} is {column.iloc[row]!r} in row {row}; expected "
                f"{quoted((*NOT_CENSORED, *CENSORED))}, or 1 for an event and 0 for none"
            )
        return np.isin(words, CENSORED).astype(int)
    values = evaluate_numbers(text, frame)
    _expect(values, (values == 0) | (values == 1), text, "1 for an event and 0 for none")
    return (values == 0).astype(int)


def read_trials(term: str, frame: pd.DataFrame) -> np.ndarray:
    """The trials of each row, (N,): of a column, a function of columns, or one number for all.

    >>> read_trials("n", pd.DataFrame({"n": [3, 4]})).tolist(), read_trials("9", pd.DataFrame([0]))
    ([3, 4], array([9]))

    Raises:
        DataError: there is no such column, or some are no whole numbers above 0.
    """
    column = frame.get(term.strip("`"))
    if column is not None and not _numeric(column):
        raise DataError(
            f"formula: {term!r} holds {column.iloc[0]!r}; expected whole numbers above 0"
        )
    if re.fullmatch(r"\d+", term):
        trials = np.full(len(frame), float(term))
    else:
        trials = evaluate_numbers(term, frame)
    _expect(
        trials, np.isfinite(trials) & whole(trials) & (trials > 0), term, "whole numbers above 0"
    )
    return trials.astype(int)


def _expect_enough(outcome: Outcome, trials: np.ndarray) -> None:
    beyond = ~outcome.missing & (outcome.values > trials)
    if beyond.any():
        row = int(np.flatnonzero(beyond)[0])
        raise DataError(
            f"formula: {outcome.name!r} is {outcome.values[row]:g} in row {row}, more than its "
            f"{trials[row]:g} trials"
        )


def _expect(values: np.ndarray, inside: np.ndarray, name: str, words: str) -> None:
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise DataError(f"formula: {name!r} is {values[row]:g} in row {row}; expected {words}")
