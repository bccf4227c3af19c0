"""Queries of predictions: new rows, the next rows of a series, and the rows these depend on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from amortppl.data.batches import Batches
from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.errors import DataError, GuideError
from amortppl.posterior.forecasts import expect_known_future
from amortppl.posterior.state import State
from amortppl.runtime.arguments import expect_whole
from amortppl.task.abstract import AbstractTask
from amortppl.training.trained import TrainedMethod


def next_rows(guide: TrainedMethod, at: Any, steps: int | None, columns: Columns | None) -> Dataset:
    """Inputs of new rows, or how many of a series are to come.

    Raises:
        DataError: they do not fit the task, or inputs of the future are missing.
        GuideError: the guide's model has no next row.
    """
    task = guide.task
    if steps is None:
        return inputs(task, at, columns)
    expect_whole("steps", steps, 1)
    if not follows(task) or guide.method.predicts:
        raise GuideError(
            f"steps: forecasts are of series, whose rows follow one another and have a density, "
            f"and {task.name} is no such task (or its method has no latents); pass new rows as `at`"
        )
    expect_known_future(task, at, steps)
    new = inputs(task, steps if at is None else at, columns)
    if new.rows != steps:
        raise DataError(f"at: expected the inputs of {steps} rows, as steps says, got {new.rows}")
    return new


def follows(task: AbstractTask) -> bool:
    """Whether rows are the steps of a series with a density of each given those before."""
    return task.ordered and task.has_density


def rows_before(guide: TrainedMethod, data: Any, columns: Columns | None) -> tuple[Dataset, int]:
    """The rows that the next ones depend on, and how many came in all.

    Raises:
        DataError: mini-batches, of which no rows are at hand.
    """
    task = guide.task
    if isinstance(data, Batches):
        raise DataError(
            f"data: forecasts of {task.name} go on from its last rows; go through the mini-batches "
            "with guide.stream, and pass the last state"
        )
    if isinstance(data, State):
        assert data.before is not None or not data.rows
        rows = data.before or {}
        if not rows or not len(next(iter(rows.values()))):
            blank = {n: np.zeros((1, *s.shape[1:]), s.dtype) for n, s in task.rows_like.items()}
            return Dataset(blank, {}), data.rows
        return Dataset(rows, {}), data.rows
    dataset = read(task, data, columns)
    if task.memory is None:
        return dataset, dataset.rows
    last = {n: v[-max(task.memory, 1) :] for n, v in dataset.arrays.items()}
    return (Dataset(last, {}) if dataset.rows > task.memory else dataset), dataset.rows


def inputs(task: AbstractTask, at: Any, columns: Columns | None) -> Dataset:
    """Inputs of new rows, or their number where the model has no inputs.

    Raises:
        DataError: they do not fit the task.
    """
    if task.inputs:
        return read(task, at, columns, observed=False)
    if not isinstance(at, int | np.integer):
        number = "1, as the data are one block" if task.block else "the number of new rows"
        raise DataError(
            f"at: {task.name} has no inputs, expected a whole number ({number}), got {at!r}"[:500]
        )
    expect_whole("at", at, 1, 1 if task.block else None)
    return Dataset({task.count or "row": np.zeros((int(at), 0))}, {})


def empty(data: Any) -> bool:
    """Whether there are no rows, so that the prior is all there is."""
    if data is None or (isinstance(data, pd.DataFrame) and data.empty):
        return True
    if not (isinstance(data, Mapping) and data):
        return False
    return all(np.shape(v)[:1] == (0,) for v in data.values())
