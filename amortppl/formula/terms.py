"""Terms of a formula evaluated by formulae, with errors that name what is not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from amortppl.errors import DataError, nearest, quoted
from amortppl.formula.table import expect_columns

FUNCTIONS: dict[str, Any] = {
    **{n: getattr(np, n) for n in ("log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs")},
    **{n: getattr(np, n) for n in ("sin", "cos", "tan", "tanh", "arctan", "sign", "floor", "ceil")},
    **{n: getattr(np, n) for n in ("minimum", "maximum", "where")},
    "np": np,
}
"""Functions that a formula may call beside those of formulae. Nothing else is in reach of it."""


def describe(text: str, frame: pd.DataFrame) -> Any:
    """formulae's description of a formula, evaluated on no data yet.

    Raises:
        DataError: a column or function that it names is not there.
    """
    from formulae.model_description import model_description
    from formulae.transforms import TRANSFORMS

    with plain_errors(text):
        description = model_description(text)
    # Terms of `g / x` share what they are made of, and the coding of one would rename another.
    description.common_terms = [deepcopy(t) for t in description.common_terms]
    description.group_terms = [deepcopy(t) for t in description.group_terms]
    functions = [*FUNCTIONS, *TRANSFORMS]
    expect_columns(frame, columns_used(description), "formula")
    for name in sorted(_called(text)):
        if name.split(".")[0] not in functions:
            raise DataError(
                f"formula: no function {name!r} (there are {quoted(sorted(functions))})"
                f"{nearest(name, functions)}"
            )
    return description


def columns_used(description: Any) -> list[str]:
    """Names of the columns that a description uses, in order of the alphabet."""
    return sorted(n for n in description.var_names if isinstance(n, str) and n not in ("", "np"))


def _called(text: str) -> set[str]:
    """Names of the functions that a formula calls."""
    from formulae.scanner import Scanner

    tokens = Scanner(text).scan(add_intercept=False)
    return {
        a.lexeme for a, b in pairwise(tokens) if a.kind == "IDENTIFIER" and b.kind == "LEFT_PAREN"
    }


def evaluate(description: Any, frame: pd.DataFrame, text: str) -> Any:
    """The design matrices of a description.

    Raises:
        DataError: a term cannot be evaluated on the table.
    """
    from formulae.environment import Environment
    from formulae.matrices import DesignMatrices

    with plain_errors(text):
        return DesignMatrices(description, frame, Environment([FUNCTIONS]))


def evaluate_numbers(text: str, frame: pd.DataFrame) -> np.ndarray:
    """One number a row, (N,): a column or a function of columns.

    Raises:
        DataError: it is not numbers.
    """
    description = describe(f"0 + {text}", frame)
    design = evaluate(description, frame, text)
    values = None if design.common is None else np.asarray(design.common.design_matrix, float)
    if values is None or values.ndim != 2 or values.shape[1] != 1:
        raise DataError(f"formula: expected one number a row from {text!r}")
    return values[:, 0]


@contextmanager
def plain_errors(text: str) -> Iterator[None]:
    """What formulae raises, as a DataError that names the formula."""
    try:
        with np.errstate(all="ignore"):
            yield
    except DataError:
        raise
    except Exception as error:
        message = str(error) or type(error).__name__
        raise DataError(f"formula: {text.strip()!r} cannot be evaluated: {message}") from error
