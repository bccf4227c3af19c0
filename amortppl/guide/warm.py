"""Compiles what a guide needs before anybody waits for it."""

import warnings
from typing import Any

import jax.random as jr
import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.posterior.padding import padded_rows
from amortppl.runtime.compilation import run_once
from amortppl.runtime.timings import Timings, timings
from amortppl.task.abstract import AbstractTask
from amortppl.task.group_summary import as_user_data


def warm(guide: Any, draws: int, lists: bool) -> Timings:
    """Infers and predicts once for each shape of a dataset; see `Guide.warm`."""
    with timings() as spent, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of data that nobody asked about
        for dataset in _datasets(guide.task, guide.seed):
            data = dataset.arrays
            inputs = {n: data[n] for n in guide.task.inputs} or dataset.rows
            guide.predict(data, at=inputs, draws=draws)
            if guide.method.predicts:
                continue
            guide.infer(data, draws=draws)
            if lists:
                guide.infer([data, data], draws=draws)
    return spent


def _datasets(task: AbstractTask, seed: int) -> list[Dataset]:
    """A simulated dataset of every number of rows that those trained on are padded to."""
    low, high = task.rows or (1, 1)
    drawn = run_once(task.simulate, jr.key(seed), high).data
    data = {n: np.asarray(v) for n, v in drawn.items()}
    if task.block:
        return [Dataset({n: v[0] for n, v in data.items()}, {})]
    sizes = {padded_rows(task, n): n for n in range(low, high + 1)} if task.row_free else {0: high}
    if task.group_layout:
        first = [{n: v[:count] for n, v in data.items()} for count in sizes.values()]
        return [Dataset(as_user_data(task.group_layout, d), {}) for d in first]
    return [Dataset({n: v[:rows] for n, v in data.items()}, {}) for rows in sizes.values()]
