"""Observations of which a model leaves out rows (`obs_mask`): their cells there are replaced."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np

from amortppl.data.checks import check_finite
from amortppl.task.abstract import AbstractTask


def blank_missing(
    task: AbstractTask,
    arrays: dict[str, np.ndarray],
    given: Mapping[str, np.ndarray],
    labels: Mapping[str, list[str]] | None = None,
) -> dict[str, np.ndarray]:
    """Replaces what observations hold in rows that the model says are missing.

    Args:
        task: whose model says which rows are.
        arrays: finite numbers by argument.
        given: the same as they came, where a missing cell may be NaN.
        labels: names of columns.

    Raises:
        DataError: a value that counts is not finite.
    """
    rows = len(next(iter(arrays.values())))
    size = 1 << (rows - 1).bit_length() if task.row_free else rows
    padded = {n: np.concatenate([v, np.repeat(v[:1], size - rows, 0)]) for n, v in arrays.items()}
    for name, (counts, values) in _unseen(task, padded).items():
        observed = np.where(np.asarray(counts)[:rows], given[name], 0)
        check_finite(name, observed, (labels or {}).get(name))
        arrays = arrays | {name: np.asarray(values)[:rows]}
    return arrays


@partial(jax.jit, static_argnums=0)
def _unseen(
    task: AbstractTask, arrays: dict[str, jax.Array]
) -> dict[str, tuple[jax.Array, jax.Array]]:
    return task.unseen(arrays)
