"""The guide of `ap.fit`: a frame alone, of a task whose inputs are the rows of a dataset."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.random as jr
import numpy as np

from amortppl.data.dataset import read
from amortppl.data.index_checks import refuse_own_outside
from amortppl.fit.data_task import Arrays, task_of_data
from amortppl.fit.frame_method import FrameAlone
from amortppl.guide.guide import Guide
from amortppl.runtime.arguments import expect_seed
from amortppl.runtime.numpy_evaluation import construct
from amortppl.task.abstract import AbstractTask
from amortppl.task.group_summary import rows_that_count
from amortppl.task.groups import Layout
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record


def untrained_guide(
    model: Callable[..., Any], datasets: Sequence[Arrays], seed: int = 0, **labels: Any
) -> Guide:
    """The guide that is the frame alone, of a task whose inputs are the rows of a dataset."""
    expect_seed(seed)
    task = task_of_data(model, datasets, **labels)
    ranges = read_ranges(task, datasets)
    method = construct(FrameAlone().build, task, jr.key(seed))
    return Guide(method, FrameAlone(), Record(), seed, ranges)


def read_ranges(task: AbstractTask, datasets: Sequence[Arrays]) -> Ranges:
    """What the datasets range over.

    Raises:
        DataError: an index points at no group of the model.
    """
    rows_of = [{n: v for n, v in d.items() if n in task.arguments} for d in datasets]
    arrays = [read(task, d).arrays for d in rows_of]
    for each in arrays:
        refuse_own_outside(task, each)
    return ranges_of(arrays, task.group_layout)


def ranges_of(datasets: Sequence[Mapping[str, np.ndarray]], layout: Layout | None = None) -> Ranges:
    """Fewest and most rows of the datasets, and the ends of each number in a row."""
    datasets = [rows_that_count(layout, d) for d in datasets] if layout else datasets
    first = layout.index if layout else next(iter(datasets[0]))
    counts = [len(d[first]) for d in datasets]
    low, high = (
        {
            n: [float(f(e)) for e in zip(*(_columns(d[n], f) for d in datasets), strict=True)]
            for n in datasets[0]
        }
        for f in (np.min, np.max)
    )
    return Ranges((min(counts), max(counts)), low, high)


def _columns(values: np.ndarray, end: Callable[..., Any]) -> list[float]:
    return end(values.reshape(len(values), -1).astype(float), axis=0).tolist()
