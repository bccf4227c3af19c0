"""At `infer` rows in groups are compared with the user's own model of the rows as they came: the
arrays that the engine and its judge run on were sorted and filled up.

    sum_i log p(y_i | x_i, theta, u_g(i)),    at one draw of theta and of the groups' effects u

by the engine on the groups, in 32 bits, and by NumPy on the rows as they came, with the index that
their own labels have, some of them at a time.
"""

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.data.groups import Groups
from amortppl.errors import DataError
from amortppl.posterior.draws import Drawn
from amortppl.posterior.group_predictions import log_density_by_row
from amortppl.posterior.padding import pad
from amortppl.runtime.compilation import Compiled
from amortppl.runtime.numpy_evaluation import Traced
from amortppl.task.abstract import AbstractTask
from amortppl.task.group_check import plain_rows
from amortppl.trust.parity import Parity, Sum, allowed, middle_draws, widen_numbers

DATASETS, SIZES = 8, (64, 512, 4096)
"""Datasets of a call that are compared, at most, and rows of a piece: programs of few sizes."""

_PROGRAMS: WeakKeyDictionary[AbstractTask, dict[tuple[int, int], Traced]] = WeakKeyDictionary()


def judge_groups(
    task: AbstractTask, datasets: Sequence[Dataset], drawn: Drawn, parity: Parity
) -> dict[int, str]:
    """Compares the rows of some datasets with the user's model of them; where they differ `parity`
    no longer agrees.

    Returns:
        A note for each dataset whose rows differ.
    """
    if not task.grouping or not task.has_density:
        return {}
    notes: dict[int, str] = {}
    for place, vector in middle_draws(datasets, drawn, DATASETS):
        off, limit = _compare(task, datasets[place], vector)
        if not abs(off) <= limit:
            parity.error[place] = off
            parity.checked[place], parity.agrees[place] = True, False
            notes[place] = (
                f"NOT RELIABLE, the log density of the rows in groups of {task.groups.name!r} is "
                f"{off:.3g} nats off that of the model run on the rows as they came. It is likely "
                "that a row's density depends on other rows, or on how many there are"
            )
    return notes


def _compare(task: AbstractTask, dataset: Dataset, vector: np.ndarray) -> tuple[float, float]:
    """By how much the engine's log density of all rows is off, and may be by rounding."""
    batch = pad(task, dataset)
    local, by_row = _engine(task, jnp.asarray(vector), batch.data)
    engine = np.sum(np.asarray(by_row)[: dataset.lines].astype(np.float64))
    effects = {n: np.asarray(u, np.float64) for n, u in local.items()}
    plain = _plain(task, dataset, vector.astype(np.float64), effects)
    size, terms = np.abs(plain).sum(), np.array([plain.size])
    total = Sum(np.array([plain.sum()]), np.array([size]), terms, np.zeros(1))
    return float(engine - plain.sum()), float(allowed(total)[0])


@Compiled
def _engine(
    task: AbstractTask, vector: Array, data: dict[str, Array]
) -> tuple[dict[str, Array], Array]:
    """The modes of the groups' effects, and the log density of the rows there (G, R)."""
    local = {}
    if task.local:
        local = task.local.unflatten(task.local.find_modes(vector, data).mode)
    return local, log_density_by_row(task, task.trace_at(vector, data, local))


def _plain(
    task: AbstractTask, dataset: Dataset, vector: np.ndarray, effects: dict[str, np.ndarray]
) -> np.ndarray:
    """The log density of every row by the user's model, (N,)."""
    groups, names = dataset.groups, task.groups.arguments
    if groups is None:
        raise DataError(f"data: the rows of {task.name} are not known to lie in groups")
    wide = widen_numbers(task, dataset.given_rows)
    number = _number(task, effects, dataset)
    whole = {n: _filled(v, number) for n, v in wide.items() if n in names.whole}
    rows = {n: v for n, v in wide.items() if n not in whole}
    rows[names.index] = _index(groups)
    count = len(groups.given_labels)
    size = next((s for s in SIZES if s >= count), SIZES[-1])
    rows, parts = {n: _filled(v, -(-count // size) * size) for n, v in rows.items()}, []
    for first in range(0, count, size):
        piece = {n: v[first : first + size] for n, v in rows.items()} | whole
        program = _program(task, size, number, (vector, effects, piece))
        parts.append(program(vector, effects, piece))
    return np.concatenate(parts)[:count]


def _index(groups: Groups) -> np.ndarray:
    """The index of each row's group by its own label, (N,); -1 where it is none of theirs."""
    places = {label: i for i, label in enumerate(groups.labels)}
    return np.array([places.get(label, -1) for label in groups.given_labels])


def _number(task: AbstractTask, effects: dict[str, np.ndarray], dataset: Dataset) -> int:
    """How many groups the effects are of, those that they were filled up to among them."""
    axes = task.local.unconstrained_axes if task.local else {}
    return next((u.shape[axes[n] or 0] for n, u in effects.items()), dataset.rows)


def _filled(values: np.ndarray, number: int) -> np.ndarray:
    return np.concatenate([values, np.repeat(values[:1], number - len(values), 0)])


def _program(task: AbstractTask, rows: int, groups: int, like: tuple) -> Traced:
    programs = _PROGRAMS.setdefault(task, {})
    if (rows, groups) not in programs:
        programs[rows, groups] = Traced(partial(_rows, task, groups), *like)
    return programs[rows, groups]


def _rows(
    task: AbstractTask,
    groups: int,
    vector: Array,
    effects: dict[str, Array],
    rows: dict[str, Array],
) -> Array:
    return plain_rows(task, task.latents.unflatten(vector) | effects, rows, groups)
