"""`ap.formula`: a formula and a table as a plain NumPyro program and its data."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from amortppl.errors import DataError, DesignWarning
from amortppl.formula.censored import NO_LIMIT
from amortppl.formula.design import Design, build_design, new_design
from amortppl.formula.families import FAMILIES, family_named
from amortppl.formula.inputs import program_data
from amortppl.formula.links import link_named
from amortppl.formula.missing import cells_to_impute, choose_rows
from amortppl.formula.names import argument_named, labels_of
from amortppl.formula.outcome import Outcome, read_outcome, read_trials
from amortppl.formula.parse import Parsed, parse
from amortppl.formula.priors import Priors, default_priors, override
from amortppl.formula.problems import expect_variation, notes_on
from amortppl.formula.program import Parts, arguments_of, run_program, write_program
from amortppl.formula.scaling import Scaling
from amortppl.formula.table import as_frame, plain_columns
from amortppl.formula.terms import columns_used, describe, evaluate_numbers


@dataclass(frozen=True)
class Formula:
    """A regression as a NumPyro program, and its data.

    Attributes:
        text: the formula.
        family, link: of the outcome.
        parts: what the program is written from.
        frame: the rows fitted.
        data: the program's arguments, with the outcome.
        unobserved: rows of the table whose outcome is missing, or None.
        notes: what was left out, and what the data do not tell, in words.

    Example:
        >>> form = formula("y ~ x", {"y": [1.0, 2.0, 4.0], "x": [0.0, 1.0, 2.0]})
        >>> form.family, form.link, form.argument, form.columns
        ('gaussian', 'identity', 'y', ('x',))
        >>> {n: v.shape for n, v in form.inputs({"x": [3.0]}).items()}
        {'x': (1, 1)}
        >>> "numpyro.sample" in form.source()
        True
    """

    text: str
    family: str
    link: str
    parts: Parts
    frame: pd.DataFrame
    data: dict[str, np.ndarray]
    unobserved: pd.DataFrame | None
    notes: tuple[str, ...]

    @cached_property
    def model(self) -> Callable[..., Any]:
        """The program as a NumPyro function of `data`."""
        return run_program(self.source())

    def source(self) -> str:
        """The program as text: imports, constants and `model`."""
        return write_program(self.parts)

    @property
    def predictor(self) -> str:
        """What stands behind the `~`."""
        return parse(self.text).predictor

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the coefficients' columns, in order."""
        return self.parts.design.columns

    @property
    def priors(self) -> Priors:
        """The priors, which print."""
        return self.parts.priors

    @property
    def outcome(self) -> Outcome:
        """The outcome of the rows fitted."""
        return self.parts.outcome

    @property
    def argument(self) -> str:
        """The argument, and the site, of the outcome."""
        return self.parts.argument

    @property
    def dims(self) -> dict[str, list[str]]:
        """Names of the axes of the program's sites."""
        return labels_of(self.parts)[0]

    @property
    def coords(self) -> dict[str, list[Any]]:
        """Labels along these axes."""
        return labels_of(self.parts)[1]

    def inputs(
        self, table: Any, new_levels: bool = False, trials: bool = False
    ) -> dict[str, np.ndarray]:
        """The program's inputs for new rows, by the moments, knots and levels of the rows fitted.

        Args:
            table: the rows.
            new_levels: whether groups may have new levels, numbered behind the others.
            trials: whether a binomial's rows have their own trials, which the formula names; else
                one each.

        Raises:
            DataError: a column is not there, a cell is missing, or a level is new.
        """
        whole = frame = as_frame(table)
        names = columns_used(describe(self.predictor, frame))
        frame = plain_columns(frame, names)
        holes = [n for n in names if frame[n].isna().any()]
        if holes:
            raise DataError(f"data: {holes[0]!r} has missing cells in the new rows")
        design = new_design(self.parts.design, frame, new_levels)
        none = {i.name: np.full(len(frame), i.cells, np.int32) for i in self.parts.imputed}
        data = program_data(self.parts, design, none)
        blank = {
            "trials": np.ones(len(frame), np.int64),
            "weights": np.ones(len(frame)),
            "limit": np.full(len(frame), NO_LIMIT),
        }
        if trials and self.outcome.trials_term:
            blank["trials"] = self._trials(whole)
        return {n: (blank | data)[n] for n in arguments_of(self.parts)}

    def _trials(self, frame: pd.DataFrame) -> np.ndarray:
        """Trials of new rows."""
        term = self.outcome.trials_term
        try:
            return read_trials(term, plain_columns(frame, frame.columns))
        except DataError as error:
            raise DataError(
                f"data: the new rows need their trials, {term!r}, to predict how many of them "
                f"succeed (a column of 1 for shares of one): {error}"
            ) from error

    def __str__(self) -> str:
        lines = [f"{self.text}    ({self.family}, {self.link})"]
        if self.family == "bernoulli" and self.outcome.levels:
            lines.append(
                "{0}: the probability of {2!r} against {1!r}".format(
                    self.outcome.name, *self.outcome.levels
                )
            )
        lines.append(f"{len(self.frame)} rows; priors:")
        priors = self.parts.priors
        if priors.intercept is not None:
            lines.append(f"    Intercept, at the columns' means: {priors.intercept}")
        pairs = zip(self.columns, priors.coefficients, strict=True)
        lines += [f"    {name}: {prior}" for name, prior in pairs]
        for group, own in zip(self.parts.design.groups, priors.groups, strict=True):
            each = zip(group.terms, own, strict=True)
            lines += [f"    sd of {term}|{group.factor}: {prior}" for term, prior in each]
        lines += [f"    {name}: {prior}" for name, prior in priors.parameters.items()]
        return "\n".join(lines)


def formula(
    text: str,
    data: Any,
    family: str = "gaussian",
    *,
    link: str | None = None,
    priors: Mapping[str, Any] | None = None,
    missing: str = "error",
    weights: str | None = None,
) -> Formula:
    """Reads a formula and a table as a NumPyro program.

    The language is that of formulae and Bambi: `+`, `:`, `*`, `**`, `/`, `0 +`, functions of
    columns (`log(x)`, `poly(x, 2)`, `bs(x, df=4)`, `scale(x)`, `C(x)`, `{x**2}`), `offset(x)`, and
    effects of groups `(1 + x | g)`, `(x || g)` without correlations, `(1 | a/b)`, `(1 | a:b)`.
    Before the `~` stand a column, a function of one, `column[level]`, `p(successes, trials)`,
    `censored(time, event)` or `weighted(outcome, weight)`.

    Args:
        text: the formula.
        data: a table: a DataFrame of pandas, polars or Arrow, or a dict of columns.
        family: a name of `amortppl.formula.families.FAMILIES`.
        link: of the family; its usual one by default.
        priors: by column, term, `Intercept`, parameter of the family, `1|school` for the sd of a
            group's effects: text like `"Normal(0, 1)"` or a NumPyro distribution.
        missing: what to do about missing cells of predictors: `error`, `drop` their rows, or
            `impute` them as latents. Rows without an outcome are predicted.
        weights: a column of weights of the rows' log likelihoods.

    Returns:
        The `Formula`: `.model`, `.data`, `.columns`, `.source()`.

    Raises:
        DataError: the formula does not parse, a column is not there, cells are missing, or the
            outcome lies outside the family's support.

    Warns:
        DesignWarning: columns that are constant or follow from others, groups of one level,
            outcomes that a sum of columns tells apart perfectly.

    Example:
        >>> table = {"y": [1.0, 2.0, 4.0], "x": [0.0, 1.0, 2.0]}
        >>> form = formula("y ~ x", table)
        >>> form.columns
        ('x',)
        >>> sorted(form.data)
        ['x', 'y']
    """
    parsed, family = parse(text), family_named(family)
    link = link_named(link, FAMILIES[family].links, family)
    frame = as_frame(data)
    names = columns_used(describe(parsed.predictor, frame))
    frame = plain_columns(frame, frame.columns)
    outcome = _outcome(parsed, frame, family, weights)
    rows = choose_rows(frame, names, outcome.missing, missing)
    fitted = frame.iloc[rows.fitted].reset_index(drop=True)
    unobserved = frame.iloc[rows.predicted] if len(rows.predicted) else None
    parts, holes = _parts(
        parsed, fitted, _take(outcome, rows.fitted), (family, link), names, priors
    )
    notes = [*rows.notes, *notes_on(parts.design, parts.scaling, parts.outcome, family)]
    for note in notes:
        warnings.warn(note, DesignWarning, stacklevel=2)
    values = _observed(parts)
    own = {n: getattr(parts.outcome, n) for n in ("trials", "limit", "weights")}
    inputs = program_data(parts, parts.design, holes) | {
        n: v for n, v in own.items() if v is not None
    }
    data = {n: inputs[n] for n in arguments_of(parts)} | {parts.argument: values}
    form = Formula(parsed.text, family, link, parts, fitted, data, unobserved, tuple(notes))
    if unobserved is not None:
        form.inputs(unobserved)  # refused now, not once the rest is fitted
    return form


def _outcome(parsed: Parsed, frame: pd.DataFrame, family: str, weights: str | None) -> Outcome:
    outcome = read_outcome(parsed.outcome, frame, family)
    if weights is None:
        return outcome
    values = evaluate_numbers(weights, frame)
    if not ((values >= 0) & np.isfinite(values)).all():
        row = int(np.flatnonzero(~((values >= 0) & np.isfinite(values)))[0])
        raise DataError(
            f"weights: {weights!r} is {values[row]:g} in row {row}; expected numbers from 0 up"
        )
    return outcome._replace(weights=values)


def _take(outcome: Outcome, rows: np.ndarray) -> Outcome:
    """The outcome of some rows."""
    parts = {n: getattr(outcome, n) for n in ("values", "missing", "trials", "limit", "weights")}
    return outcome._replace(**{n: None if v is None else v[rows] for n, v in parts.items()})


def _parts(
    parsed: Parsed,
    frame: pd.DataFrame,
    outcome: Outcome,
    kind: tuple[str, str],
    names: list[str],
    given: Mapping[str, Any] | None,
) -> tuple[Parts, dict[str, np.ndarray]]:
    """The parts of the program, and the numbers of missing cells by argument."""
    family, link = kind
    argument = argument_named(outcome.name)
    design = build_design(parsed, frame, [argument])
    if design.groups and family == "categorical":
        raise DataError("formula: effects of groups are not offered for the family 'categorical'")
    expect_variation(outcome, family)
    taken = {argument, *(g.name for g in design.groups)}
    imputed, holes = cells_to_impute(design, frame, names, taken)
    _expect_finite(design, [i.column for i in imputed])
    scaling = Scaling.of(design.matrix, design.intercept or not FAMILIES[family].intercept)
    priors = default_priors(design, scaling, outcome, family, link)
    priors = override(priors, given or {}, design)
    parts = Parts(parsed.text, family, link, argument, outcome, design, scaling, priors, imputed)
    return parts, holes


def _expect_finite(design: Design, imputed: list[int]) -> None:
    """Refuses columns that are not finite: a logarithm of zero, a root of a negative number."""
    for place, (name, values) in enumerate(zip(design.columns, design.matrix.T, strict=True)):
        bad = ~np.isfinite(values)
        if bad.any() and place not in imputed:
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"formula: the column {name!r} is {values[row]} in row {row} of the rows fitted "
                f"({int(bad.sum())} such rows)"
            )


def _observed(parts: Parts) -> np.ndarray:
    """The outcome as the program observes it: whole numbers for counts and levels."""
    whole = FAMILIES[parts.family].outcome in ("count", "binary", "successes", "levels")
    return parts.outcome.values.astype(np.int64 if whole else float)
