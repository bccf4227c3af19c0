"""The task of a model and the dataset at hand: what `Task` is told elsewhere, read off the data."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.columns import Columns, match_columns
from amortppl.errors import DataError, ModelError, nearest, quoted
from amortppl.fit.censored_data import limits_of_data
from amortppl.fit.data_groups import (
    counted_grouping,
    group_arguments,
    number_groups,
    task_of_groups,
)
from amortppl.formula.frames import as_pandas
from amortppl.task.censoring_indicators import CensoredError
from amortppl.task.handlers import name_arguments
from amortppl.task.task import Task

Arrays = dict[str, Any]
"""Data by argument of a model."""

FEW = 8
"""Fewest rows of the task, so that rows may be padded: prior draws are made with so many."""


def named_arguments(model: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a model by name.

    Raises:
        ModelError: what was given is not a function, or takes arguments without names.
    """
    if not callable(model):
        raise ModelError(f"fit: expected a model function or a formula, got {type(model).__name__}")
    parameters = inspect.signature(name_arguments(model)).parameters
    return {n: p for n, p in parameters.items() if p.kind != p.VAR_KEYWORD}


def arrays_by_argument(
    model: Callable[..., Any], data: Any, columns: Columns | None = None
) -> Arrays:
    """One dataset as a dict by argument of the model.

    Args:
        model: whose arguments are looked for.
        data: a dict by argument, or a table of pandas, polars or Arrow with columns named like the
            arguments (or `argument_0`, `argument_1`, ...).
        columns: for a DataFrame, the column or columns of an argument.

    Raises:
        DataError: it is neither, or holds what is not an argument.
    """
    arguments = named_arguments(model)
    data = as_pandas(data)
    if isinstance(data, pd.DataFrame):
        return _from_frame(list(arguments), data, columns or {})
    if not isinstance(data, Mapping):
        raise DataError(
            "data: expected a dict of arrays by argument, or a DataFrame, got "
            f"{type(data).__name__}"
        )
    extra = [n for n in data if n not in arguments]
    if extra:
        raise DataError(
            f"data: {extra[0]!r} is not an argument of the model (it has {quoted(arguments)})"
            f"{nearest(str(extra[0]), arguments)}"
        )
    return dict(data)


def _from_frame(arguments: Sequence[str], frame: pd.DataFrame, columns: Columns) -> Arrays:
    names = list(map(str, frame.columns))
    arrays: Arrays = {}
    for argument in arguments:
        given = columns.get(argument)
        picked = match_columns(argument, names, 1) if given is None else given
        picked = [picked] if isinstance(picked, str | int) else list(picked)
        missing = [str(c) for c in picked if str(c) not in names]
        if missing and given is not None:
            raise DataError(
                f"data: no column {missing[0]!r} for the argument {argument!r} (columns: "
                f"{quoted(names)}){nearest(missing[0], names)}"
            )
        if not missing:
            table = frame.iloc[:, [names.index(str(c)) for c in picked]]
            single = len(picked) == 1 and not isinstance(given, list | tuple)
            arrays[argument] = table.iloc[:, 0] if single else table
    return arrays


def task_of_data(model: Callable[..., Any], data: Sequence[Arrays], **labels: Any) -> Task:
    """The task whose inputs are the rows of the first dataset.

    Arguments that default to None and are in the data are observations. Scalars, and arrays whose
    first axis is not that of the observations, are the same in every dataset. Rows may be added
    where the model allows; else their number is fixed; else the data are one block. A model with an
    argument `n_school` beside `school`, of which the data hold `school` alone, has groups.

    Args:
        model: the model.
        data: datasets by argument, at least one.
        labels: what else `Task` takes.

    Raises:
        DataError: no observation is in the data, one has no rows, or an argument is missing.
        ModelError: the model cannot be read in any of these ways.
    """
    arguments, first = named_arguments(model), data[0]
    grouped = group_arguments(arguments, first)
    observations = [n for n in first if arguments[n].default is None]
    if not observations:
        candidates = [n for n, p in arguments.items() if p.default is None]
        raise DataError(
            f"data: no observation among {quoted(first)}; the model observes "
            f"{quoted(candidates) or 'nothing: give it an argument with default None'}"
        )
    try:
        return _task(model, grouped, data, observations, labels)
    except ModelError as error:
        if not isinstance(error, CensoredError):
            _expect_arguments(arguments, first, error)
            raise
        numbers = number_groups(first, grouped)
        limits = limits_of_data(model, first | numbers, observations)
    free = [{n: v for n, v in d.items() if n not in limits} for d in data]
    return _task(model, grouped, free, observations, labels | {"censoring": limits})


def _task(
    model: Callable[..., Any],
    grouped: Sequence[str],
    data: Sequence[Arrays],
    observations: list[str],
    labels: Mapping[str, Any],
) -> Task:
    arguments, first = named_arguments(model), data[0]
    if grouped:
        return task_of_groups(model, grouped[0], data, arguments, **labels)
    if counted := counted_grouping(arguments, data):
        # A model whose groups are tied to one another is read as one of a fixed number of them.
        with suppress(ModelError):
            return task_of_groups(model, counted[0], data, arguments, **dict(labels))
    constants = _constants(arguments, data, observations)
    sizes = sorted({len(np.asarray(d[observations[0]])) for d in data})
    if sizes[0] == 0:
        raise DataError(f"data: {observations[0]!r} has no rows; at least one is needed")
    inputs = {n: v for n, v in first.items() if n not in observations and n not in constants}
    low = min(FEW, sizes[0]) if sizes[-1] > FEW else 1
    task = _first_that_reads(model, inputs, (low, sizes[-1]), constants=constants, **labels)
    _expect_lengths(task, first, observations)
    return task


def _expect_arguments(
    arguments: Mapping[str, inspect.Parameter], data: Arrays, error: ModelError
) -> None:
    """Tells a model's failure as what it comes from where the data lack an argument.

    One may be meant to be the number of rows; with several, the model's own words say nothing.
    """
    needed = [n for n, p in arguments.items() if p.default is inspect.Parameter.empty]
    absent = [n for n in needed if n not in data and not n.startswith("n_")]
    if not absent:
        return
    reason = (
        f" Taken for the number of rows, as one is that data lack, {absent[0]!r} does not fit: "
        f"{error}"
    )
    raise DataError(
        f"data: no {quoted(absent)}, which the model asks for; the data have {quoted(data)}."
        f"{reason if len(absent) == 1 else ''}"
    ) from error


def _constants(
    arguments: Mapping[str, inspect.Parameter], data: Sequence[Arrays], observations: list[str]
) -> Arrays:
    """Arguments that are no rows: scalars, other lengths, and observations that nobody gives."""
    rows = np.shape(data[0][observations[0]])[:1]
    constants: Arrays = {
        n: None for n, p in arguments.items() if p.default is None and n not in data[0]
    }
    for name, value in data[0].items():
        if np.ndim(value) == 0 or (name not in observations and np.shape(value)[:1] != rows):
            _expect_same(name, data)
            constants[name] = value
    return constants


def _expect_same(name: str, data: Sequence[Arrays]) -> None:
    for place, other in enumerate(data):
        if not np.array_equal(np.asarray(other.get(name)), np.asarray(data[0][name])):
            raise DataError(
                f"data: {name!r} has no axis of rows, so that it should be the same in every "
                f"dataset; dataset {place} has another"
            )


def _expect_lengths(task: Task, data: Arrays, observations: Sequence[str]) -> None:
    """Refuses arrays of other lengths where the model needs as many rows of each."""
    shape = task.rows_like[observations[0]].shape[1:]
    if task.block and np.shape(data[observations[0]]) != shape:
        rows = {n: len(np.asarray(v)) for n, v in data.items() if np.ndim(v)}
        raise DataError(f"data: all arguments should have the same number of rows, got {rows}")


def _first_that_reads(
    model: Callable[..., Any], inputs: Arrays, rows: tuple[int, int], **more: Any
) -> Task:
    """The task with rows free, fixed, or as one block, the first that the model allows."""
    refusals: list[ModelError] = []
    for size in (rows, rows[1], None):
        try:
            return Task(model, inputs, size, **more)
        except CensoredError:
            raise
        except ModelError as error:
            refusals.append(error)
    raise refusals[0]
