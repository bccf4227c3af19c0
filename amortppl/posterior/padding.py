"""Datasets padded to few shapes, so that few programs are compiled."""

from collections.abc import Sequence

import jax
import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


def pad(task: AbstractTask, dataset: Dataset) -> Batch:
    """A dataset padded to the next power of two, so that few shapes are ever compiled."""
    rows = dataset.rows
    size = max(8, 1 << (rows - 1).bit_length()) if task.row_free else rows
    pad = {
        n: np.concatenate([v, np.repeat(v[:1], size - rows, 0)]) for n, v in dataset.arrays.items()
    }
    return Batch(pad, np.arange(size) < rows)


def group_by_shape(task: AbstractTask, datasets: Sequence[Dataset]) -> dict[int, list[int]]:
    """Places of the datasets by the number of rows that they are padded to."""
    found: dict[int, list[int]] = {}
    for place, dataset in enumerate(datasets):
        found.setdefault(pad(task, dataset).mask.shape[0], []).append(place)
    return found


def stack(task: AbstractTask, datasets: Sequence[Dataset], places: Sequence[int]) -> Batch:
    """Datasets of one shape as a batch with a leading axis."""
    return jax.tree.map(lambda *a: np.stack(a), *(pad(task, datasets[i]) for i in places))
