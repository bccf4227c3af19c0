"""Datasets padded to few shapes, so that few programs are compiled.

Rows are padded to a power of two. Lists of datasets are sorted by their rows and cut into chunks of
one size, the last one filled up with copies: a list of any length takes one program for each number
of rows that they are padded to.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.data.groups import NUMBERS, filled
from amortppl.method import Method
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

TOGETHER, WIDE = 16, 256
"""Datasets of a list in one compiled call on a CPU, and elsewhere.

A CPU gains little by more, and short lists are filled up to as many.
"""

ROWS_TOGETHER = 1 << 17
"""Padded rows in one call, at most, which bounds its memory."""


class Chunk(NamedTuple):
    """Datasets in one compiled call.

    Attributes:
        places: the C datasets' places in their list.
        index: the places of all B datasets of the batch, copies among them, (B,).
        batch: their padded rows, (B, R, ...).
    """

    places: list[int]
    index: np.ndarray
    batch: Batch

    def pick(self, results: Any) -> Any:
        """Of results with the leading axis B those of the C datasets, as NumPy arrays."""
        return jax.tree.map(lambda a: np.asarray(a)[: len(self.places)], results)


def chunks(
    task: AbstractTask,
    datasets: Sequence[Dataset],
    together: int | None = None,
    first: bool = False,
) -> Iterator[Chunk]:
    """Chunks of datasets that are padded to the same number of rows, those of like size together.

    A single dataset is a chunk by itself.

    Args:
        task: the task.
        datasets: the datasets.
        together: datasets of a chunk at most, as `chunk_size` has it.
        first: whether only the first chunk of each shape is asked for.
    """
    for (rows, each, _), group in group_by_shape(task, datasets).items():
        size = 1 if len(datasets) == 1 else chunk_size(rows * each, together)
        group = sorted(group, key=lambda i: datasets[i].rows)
        for start in range(0, 1 if first else len(group), size):
            places = group[start : start + size]
            index = places + places[:1] * (size - len(places))
            yield Chunk(places, np.array(index, np.uint32), stack(task, datasets, index))


def chunk_size(rows: int, together: int | None = None) -> int:
    """B, the datasets of so many padded rows in one call; on a CPU `together` at most."""
    most = together or TOGETHER if jax.default_backend() == "cpu" else WIDE
    return min(most, max(1, ROWS_TOGETHER // rows))


def padded_rows(task: AbstractTask, rows: int) -> int:
    """The next power of two, at least 8, of groups one of fewer; the rows themselves where they are
    tied.
    """
    if task.grouping:
        return filled(rows, NUMBERS)
    return max(8, 1 << (rows - 1).bit_length()) if task.row_free else rows


def pad(task: AbstractTask, dataset: Dataset) -> Batch:
    """A dataset padded to the next power of two of rows, at least 8, so that few shapes occur.

    The padding repeats the first row. Where rows are tied, none is added.
    """
    size = padded_rows(task, dataset.lines)
    more = size - dataset.lines
    padded = {n: np.concatenate([v, np.repeat(v[:1], more, 0)]) for n, v in dataset.arrays.items()}
    return Batch(padded, np.arange(size) < dataset.rows)


def pad_rows(task: AbstractTask, batches: Batch) -> Batch:
    """A batch of T datasets with their rows padded like those of `pad`, as NumPy arrays."""
    batches = jax.tree.map(np.asarray, batches)
    more = padded_rows(task, batches.mask.shape[1]) - batches.mask.shape[1]
    data = {
        n: np.concatenate([v, np.repeat(v[:, :1], more, 1)], 1) for n, v in batches.data.items()
    }
    return Batch(data, np.pad(batches.mask, ((0, 0), (0, more))))


def pad_queries(method: Method, dataset: Dataset) -> dict[str, Array] | None:
    """The inputs of new rows, padded, where states belong to queries; None where they serve any."""
    if not method.queries_first:
        return None
    batch = pad(method.task, dataset)
    inputs = {n: batch.data[n] for n in method.task.inputs}
    return inputs or {"row": np.zeros((len(batch.mask), 0), np.float32)}


def group_by_shape(
    task: AbstractTask, datasets: Sequence[Dataset]
) -> dict[tuple[int, int, bool], list[int]]:
    """Places of the datasets by the number of rows that they are padded to, of places in each
    (`AbstractTask.places`), and whether groups have several lines.
    """
    places: dict[tuple[int, int, bool], list[int]] = {}
    for place, dataset in enumerate(datasets):
        shape = (
            padded_rows(task, dataset.lines),
            task.places(dataset.arrays),
            task.has_further_lines(dataset.arrays),
        )
        places.setdefault(shape, []).append(place)
    return places


def stack(task: AbstractTask, datasets: Sequence[Dataset], places: Sequence[int]) -> Batch:
    """Datasets of one shape as a batch with a leading axis, each padded as `pad` has it."""
    chosen = [datasets[i] for i in places]
    counts = np.array([d.rows for d in chosen])
    size, data = padded_rows(task, max(d.lines for d in chosen)), {}
    for name, like in chosen[0].arrays.items():
        filled = np.empty((len(chosen), size, *like.shape[1:]), like.dtype)
        for to, dataset in zip(filled, chosen, strict=True):
            values = dataset.arrays[name]
            to[: len(values)], to[len(values) :] = values, values[0]
        data[name] = filled
    return Batch(data, np.arange(size) < counts[:, None])
