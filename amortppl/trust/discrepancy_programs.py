"""Discrepancies of many datasets from draws of their posteriors, compiled once a shape."""

import numpy as np
from jaxtyping import Array

from amortppl.method import Method
from amortppl.runtime.batched_map import map_datasets
from amortppl.runtime.compilation import Options, compile_with, few_optimizations
from amortppl.runtime.seeds import fold_in, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.trust.discrepancies import Moments, discrepancies

DRAWS = 50

INTEGRALS = 2
"""Times as few tasks and draws where latents of rows are integrated out: a task's discrepancies
take a hundred integrals of each of its rows, more than a search for its posterior."""


def draws_of(task: AbstractTask) -> int:
    """S, the draws that discrepancies are computed from."""
    return DRAWS // INTEGRALS if task.local else DRAWS


def prediction_keys(task: AbstractTask, key: Array, index: np.ndarray) -> Array:
    """Keys of the predictions from S draws of datasets with some numbers, (T, S)."""
    return split_key(fold_in(key, index), draws_of(task))


def _few_for_predictions(
    method: Method, batches: Batch, vectors: Array, keys: Array, moments: Moments
) -> Options:
    datasets, rows = np.shape(batches.mask)
    each = method.task.evaluations(batches.data)
    return few_optimizations(datasets, vectors.shape[1] * rows * each)


@compile_with(_few_for_predictions)
def discrepancies_of(
    method: Method, batches: Batch, vectors: Array, keys: Array, moments: Moments
) -> Array:
    """Discrepancies (T, J) of T datasets of one shape from draws (T, S, P) and keys (T, S)."""
    return map_datasets(
        lambda b, v, k: discrepancies(method.task, v, b, k, moments), batches, vectors, keys
    )
