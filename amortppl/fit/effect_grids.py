"""Rows that differ in one column alone, the others at their mean or most frequent value."""

import re
from typing import Any

import numpy as np
import pandas as pd

from amortppl.formula.formula import Formula
from amortppl.formula.table import expect_columns
from amortppl.formula.terms import columns_used, describe

POINTS, LEVELS = 60, 10
"""Values along a column of numbers; distinct whole numbers up to which each is one of these."""


def effect_columns(form: Formula) -> list[str]:
    """Columns of the predictor that are more than a factor of group effects."""
    names = columns_used(describe(form.predictor, form.frame))
    return [n for n in names if any(is_named(t, n) for t in _common_terms(form))]


def _common_terms(form: Formula) -> list[str]:
    design = form.parts.design
    own = [t for g in design.groups for t in g.terms]
    offsets = re.findall(r"offset\(.*?\)", form.text)
    return [*design.terms, *own, *offsets]


def is_named(text: str, column: str) -> bool:
    """Whether a text names a column."""
    return re.search(rf"(?<![\w.]){re.escape(column)}(?![\w.(])", text) is not None


def expect_in_predictor(form: Formula, column: str, name: str) -> None:
    """Refuses a column that the predictor does not use.

    Args:
        name: of the function that asks, for the message.

    Raises:
        DataError: naming the nearest column that it uses.
    """
    used = columns_used(describe(form.predictor, form.frame))
    expect_columns(form.frame[used], [column], f"{name}, of the formula's predictor")


def has_levels(form: Formula, column: str) -> bool:
    """Whether a column stands for levels: text, or numbers in `C(...)` or behind a `|`."""
    values = form.frame[column]
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return True
    coded = re.search(rf"(?<!\w)[CST]\(\s*{re.escape(column)}(?!\w)", form.text)
    return bool(coded) or any(is_named(g.factor, column) for g in form.parts.design.groups)


def effect_grid(form: Formula, column: str) -> pd.DataFrame:
    """Rows along one column.

    >>> from amortppl.formula.formula import formula
    >>> form = formula("y ~ a + g", {"y": [1.0, 2, 4], "a": [0.0, 2, 4], "g": ["u", "u", "v"]})
    >>> effect_grid(form, "g")[["a", "g"]].values.tolist()
    [[2.0, 'u'], [2.0, 'v']]
    """
    values = form.frame[column].dropna()
    whole = pd.api.types.is_integer_dtype(values) and values.nunique() <= LEVELS
    if has_levels(form, column) or whole:
        along: Any = levels_of(values)
    else:
        along = np.linspace(float(values.min()), float(values.max()), POINTS)
    typical = {n: _typical(form, n) for n in form.frame.columns if n != column}
    return pd.DataFrame({**typical, column: along})


def levels_of(values: pd.Series) -> list[Any]:
    """The distinct values: categories in their order, others sorted.

    >>> levels_of(pd.Series([10, 9, 10]))
    [9, 10]
    """
    values = values.dropna()
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [c for c in values.cat.categories if (values == c).any()]
    return sorted(pd.unique(values).tolist())


def _typical(form: Formula, column: str) -> Any:
    """The mean of numbers that vary; else the most frequent value."""
    values = form.frame[column]
    many = pd.api.types.is_float_dtype(values) or (
        pd.api.types.is_integer_dtype(values) and values.nunique() > LEVELS
    )
    if many and not has_levels(form, column):
        return float(values.mean())
    common = values.mode()
    return common.iloc[0] if len(common) else None
