"""Columns of text files as people write them: blanks for missing, decimal commas, dates."""

import numpy as np
import pandas as pd

BLANKS = ("", "na", "n/a", "nan", "null", "none", "missing", ".", "-", "?")
"""Words for a missing cell, in lower case."""

COMMA = r"[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?"
"""Numbers with a decimal comma."""

DATE = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"
"""Dates as ISO 8601 has them."""

DOTTED = r"\d{1,2}\.\d{1,2}\.\d{4}"
"""Dates with dots, whose day comes first wherever they are written."""


def read_text_columns(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with blanks as missing cells, decimal commas as numbers, and dates as dates.

    >>> table, notes = read_text_columns(pd.DataFrame({"a": ["1,5", "", "2"]}))
    >>> table["a"].tolist(), notes
    ([1.5, nan, 2.0], ["'a' read as numbers with decimal commas"])
    >>> read_text_columns(pd.DataFrame({"day": ["31.12.2020", "1.1.2021"]}))[1]
    ["'day' read as dates, in days"]

    Returns:
        The table, and what was read otherwise than it stands, in words.
    """
    columns, notes = {}, []
    for name in frame.columns:
        column = frame[name]
        if _is_text(column):
            column, kind = _read(column)
            notes += [f"{str(name)!r} read as {kind}"] if kind else []
        columns[name] = column
    return pd.DataFrame(columns), notes


def _is_text(column: pd.Series) -> bool:
    """Whether cells are words to be read; categories are kept, with their order."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)


def _read(column: pd.Series) -> tuple[pd.Series, str]:
    words = column.astype(object).map(lambda v: v.strip() if isinstance(v, str) else v)
    blank = words.map(lambda v: isinstance(v, str) and v.lower() in BLANKS) | words.isna()
    words = words.where(~blank, None)
    present = words[~blank]
    if not len(present) or not present.map(lambda v: isinstance(v, str)).all():
        return words, ""
    text = present.astype(str)
    if text.str.fullmatch(COMMA).all():
        values = pd.Series(np.nan, column.index)
        values[~blank] = text.str.replace(",", ".").astype(float)
        return values, "numbers with decimal commas" if text.str.contains(",").any() else "numbers"
    if text.str.fullmatch(DATE).all():
        dates = pd.to_datetime(words, errors="coerce", utc=True).dt.tz_localize(None)
    elif text.str.fullmatch(DOTTED).all():
        dates = pd.to_datetime(words, errors="coerce", format="%d.%m.%Y")
    else:
        return words, ""
    return (words, "") if dates[~blank].isna().any() else (dates, "dates, in days")
