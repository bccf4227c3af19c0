"""Design matrices of a formula: common columns, offsets, groups; and those of new rows."""

import keyword
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amortppl.errors import DataError
from amortppl.formula.parse import Block, Parsed
from amortppl.formula.terms import describe, evaluate

RESERVED = {"x", "y", "offset", "trials", "limit", "weights", "row", "eta", "mean", "column"}
"""Names in the program that no group may have."""


class Group(NamedTuple):
    """Effects of the levels of a factor.

    Attributes:
        name: of the argument with each row's level.
        factor: the factor as the formula has it.
        levels: names of the levels that occur.
        terms: names of the K effects of a level.
        index: (N,), the level of each row.
        matrix: (N, K), what the effects are multiplied with.
        correlated: whether the effects of a level are correlated.
    """

    name: str
    factor: str
    levels: tuple[str, ...]
    terms: tuple[str, ...]
    index: np.ndarray
    matrix: np.ndarray
    correlated: bool

    @property
    def intercept_only(self) -> bool:
        """Whether a level's only effect is on the intercept."""
        return self.terms == ("Intercept",)


class Design(NamedTuple):
    """What stands behind the `~`, evaluated on a table.

    Attributes:
        matrix: (N, P), the columns in the user's units, without the intercept; NaN where missing.
        columns: their names.
        terms: the term of each.
        intercept: whether there is one.
        offset: (N,), or None.
        groups: one of each block.
        source: formulae's design matrices, which know how to evaluate new rows.
    """

    matrix: np.ndarray
    columns: tuple[str, ...]
    terms: tuple[str, ...]
    intercept: bool
    offset: np.ndarray | None
    groups: tuple[Group, ...]
    source: Any


def build_design(parsed: Parsed, frame: pd.DataFrame, names: Sequence[str] = ()) -> Design:
    """Evaluates the predictor of a formula.

    Args:
        parsed: the formula.
        frame: the table.
        names: that groups may not have.

    Raises:
        DataError: a column or a function is not there, or a term cannot be evaluated.
    """
    source = evaluate(describe(parsed.predictor, frame), frame, parsed.predictor)
    parts = [
        (t, np.asarray(t.data, float))
        for t in (source.common.terms.values() if source.common else [])
    ]
    columns = [
        (t.name, t.labels, _two_axes(v)) for t, v in parts if t.kind not in ("intercept", "offset")
    ]
    offsets = [v.reshape(len(frame)) for t, v in parts if t.kind == "offset"]
    groups = _groups(parsed.blocks, source, {*RESERVED, *names})
    return Design(
        _side_by_side([v for _, _, v in columns], len(frame)),
        tuple(label for _, labels, _ in columns for label in labels),
        tuple(name for name, labels, _ in columns for _ in labels),
        any(t.kind == "intercept" for t, _ in parts),
        np.sum(offsets, 0) if offsets else None,
        groups,
        source,
    )


def _two_axes(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def _side_by_side(parts: list[np.ndarray], rows: int) -> np.ndarray:
    return np.concatenate([np.zeros((rows, 0)), *parts], 1)


def _groups(blocks: Sequence[Block], source: Any, taken: set[str]) -> tuple[Group, ...]:
    groups = []
    for block in blocks:
        name = _identifier(block.factor, taken)
        taken.add(name)
        groups.append(_group(block, [source.group.terms[t] for t in block.terms], name))
    return tuple(groups)


def _group(block: Block, terms: list[Any], name: str) -> Group:
    factor = terms[0].factor
    every = np.asarray(factor.data).argmax(1)
    used, index = np.unique(every, return_inverse=True)
    return Group(
        name,
        block.factor,
        tuple(str(terms[0].groups[i]) for i in used),
        tuple(label for t in terms for label in _labels(t)),
        index.astype(np.int32),
        np.concatenate([_two_axes(np.asarray(t.expr.data, float)) for t in terms], 1),
        block.correlated,
    )


def _labels(term: Any) -> list[str]:
    return ["Intercept"] if term.name.startswith("1|") else list(term.expr.labels)


def _identifier(text: str, taken: set[str]) -> str:
    """A name of a Python argument for a factor, unlike those taken."""
    name = re.sub(r"\W+", "_", text).strip("_") or "group"
    name = f"group_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name
    while name in taken:
        name = f"{name}_"
    return name


def new_design(design: Design, frame: pd.DataFrame, new_levels: bool = False) -> Design:
    """The design of new rows, by the levels, knots and moments of the old ones.

    Args:
        new_levels: whether groups may have levels that did not occur; they are numbered from the
            number of the old ones on.

    Raises:
        DataError: a level of a factor did not occur in the old rows.
    """
    source, parts, offsets = design.source, [], []
    for term in source.common.terms.values() if source.common else []:
        values = np.asarray(_of_new_rows(term, frame), float)
        if term.kind == "offset":
            offsets.append(np.broadcast_to(values, len(frame)))
        elif term.kind != "intercept":
            parts.append(_two_axes(values))
    terms = source.group.terms if source.group else {}
    return design._replace(
        matrix=_side_by_side(parts, len(frame)),
        offset=np.sum(offsets, 0) if offsets else None,
        groups=tuple(_new_group(g, terms, frame, new_levels) for g in design.groups),
    )


def _of_new_rows(term: Any, frame: pd.DataFrame) -> Any:
    if term.kind == "intercept":
        return np.ones(len(frame))
    try:
        return term.eval_new_data(frame)
    except Exception as error:
        raise DataError(f"data: the term {term.name!r} of new rows: {error}") from error


def _new_group(group: Group, terms: dict[str, Any], frame: pd.DataFrame, new_levels: bool) -> Group:
    own = [t for t in terms.values() if t.factor.name == group.factor]
    own = [t for t in own if set(_labels(t)) <= set(group.terms)]
    index, unknown = own[0].eval_new_data_group_index(frame)
    names = [*map(str, own[0].groups), *map(_level_name, unknown)]
    place = {names.index(level): i for i, level in enumerate(group.levels)}
    others = dict.fromkeys(int(i) for i in index if int(i) not in place)
    if others and not new_levels:
        row = int(np.flatnonzero(~np.isin(index, [*place]))[0])
        raise DataError(
            f"data: row {row} has the level {names[index[row]]!r} of {group.factor!r}, which did "
            f"not occur in the rows fitted (they had {len(group.levels)} levels); new_levels=True "
            "(--new-levels) draws its effect from those of all levels"
        )
    place |= {level: len(place) + i for i, level in enumerate(others)}
    codes = np.array([place[int(i)] for i in index], np.int32)
    matrix = np.concatenate(
        [_two_axes(np.asarray(_of_new_rows(t.expr, frame), float)) for t in own], 1
    )
    return group._replace(index=codes, matrix=matrix)


def _level_name(level: Any) -> str:
    return ":".join(map(str, level)) if isinstance(level, tuple) else str(level)
