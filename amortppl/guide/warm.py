"""Compiles what a guide needs before anybody waits for it."""

import jax.random as jr
import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.posterior.padding import padded_rows
from amortppl.runtime.compilation import run_once
from amortppl.task.abstract import AbstractTask


def warm_datasets(task: AbstractTask, seed: int) -> list[Dataset]:
    """A simulated dataset of every number of rows that those trained on are padded to."""
    low, high = task.rows or (1, 1)
    drawn = run_once(task.simulate, jr.key(seed), high).data
    if task.block:
        return [Dataset({n: np.asarray(v)[0] for n, v in drawn.items()}, {})]
    sizes = {padded_rows(task, n): n for n in range(low, high + 1)} if task.row_free else {0: high}
    data = {n: np.asarray(v) for n, v in drawn.items()}
    return [Dataset({n: v[:rows] for n, v in data.items()}, {}) for rows in sizes.values()]
