"""Which column of a dataset is strange, where simulations alone say what is usual.

Of each observed column the mean, sd, smallest and largest value over the rows (its value, where
there is one row) are ranked among R simulated datasets of as many rows. With J such statistics,

    p_j = min(1, 2 J (1 + min(#{t_r >= t_j}, #{t_r <= t_j})) / (R + 1)),    r = 1..R

(Bonferroni): for a dataset of the model any is below a with probability at most a. Columns that are
usual one by one can still go together as they never do.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.runtime.compilation import run_once
from amortppl.runtime.seeds import seed_key, split_key
from amortppl.simulators.stored import LEARN
from amortppl.task.abstract import AbstractTask
from amortppl.task.latents import entries

SIMULATED, BYTES = 4096, 1 << 26
"""Stored simulations that are ranked among: at most so many, of so many bytes."""

DRAWN = 1024
"""Simulations drawn where none are stored."""

COLUMNS = 32
"""Columns of an argument that are looked at."""

LEVEL = 0.05
"""Adjusted p-values below this are told of a dataset that has been found strange."""

SHOWN = 3
"""Statistics that are told."""

OVER_ROWS = {"mean": np.mean, "spread": np.std, "smallest value": np.min, "largest value": np.max}


class Statistics(NamedTuple):
    """Labels of J statistics, and their values (M, J) in M datasets."""

    labels: list[str]
    values: np.ndarray


def tell_columns(
    task: AbstractTask, datasets: Sequence[Dataset], strange: np.ndarray
) -> list[list[str]]:
    """A sentence for each of T datasets of which `strange` (T,) is true, on what does not fit.

    Of tasks without a density of the data, and with no more rows than the stored simulations have.
    """
    asked = np.flatnonzero(strange) if not (task.has_density or task.inputs) else []
    usual, notes = {}, [[] for _ in datasets]
    for place in asked:
        arrays = datasets[place].arrays
        rows = len(next(iter(arrays.values())))
        usual[rows] = usual.get(rows) or _simulated(task, rows)
        if usual[rows].labels:
            own = statistics(task, {n: v[None] for n, v in arrays.items()})
            notes[place] = [_sentence(own, usual[rows])]
    return notes


def statistics(task: AbstractTask, data: Mapping[str, np.ndarray]) -> Statistics:
    """Of M datasets from their arrays (M, N, ...), where a block is one row."""
    labels, values = [], []
    for name in task.observed:
        for titles, columns in _columns(name, np.asarray(data[name], np.float64)):
            alone = columns.shape[1] == 1
            for kind, over in {"value": np.mean}.items() if alone else OVER_ROWS.items():
                labels += [f"the {kind} of {title}" for title in titles]
                values.append(over(columns, 1))
    return Statistics(labels, np.concatenate(values, 1))


def adjusted(own: np.ndarray, usual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p_j (J,) of statistics (J,) among simulated ones (R, J), and whether each is large."""
    above, below = np.sum(usual >= own, 0), np.sum(usual <= own, 0)
    p = 2 * len(own) * (1 + np.minimum(above, below)) / (1 + len(usual))
    return np.minimum(p, 1.0), above < below


def _columns(name: str, values: np.ndarray) -> list[tuple[list[str], np.ndarray]]:
    """Columns (M, N, C) of one argument with their titles; of one row, along its first axes too."""
    shape, size = values.shape[2:], len(values)
    flat = values.reshape(size, values.shape[1], -1)[..., :COLUMNS]
    parts = [(entries(name, shape)[:COLUMNS], flat)] if len(shape) < 2 or len(flat[0]) > 1 else []
    if len(values[0]) == 1 and len(shape) == 1 and shape[0] > 1:
        parts.append(([name], values.reshape(size, -1, 1)))
    if not parts:
        titles = [f"{name}[..., {i}]" for i in range(min(shape[-1], COLUMNS))]
        parts.append((titles, values.reshape(size, -1, shape[-1])[..., :COLUMNS]))
    return parts


def _simulated(task: AbstractTask, rows: int) -> Statistics:
    """Of simulated datasets of so many rows; nothing where the stored ones have fewer."""
    if task.stored is None:
        keys = split_key(seed_key(0), DRAWN)
        draw = jax.vmap(lambda k: task.simulate(k, rows).data)
        return _finite(task, {n: np.asarray(v) for n, v in run_once(draw, keys).items()})
    places = task.stored.places(LEARN)
    data = task.stored.take(places[: min(SIMULATED, max(64, BYTES // task.stored.bytes_each))])[1]
    if task.block:
        return statistics(task, {n: v[:, None] for n, v in data.items()})
    if any(v.shape[1] < rows for v in data.values()):
        return Statistics([], np.zeros((0, 0)))
    return statistics(task, {n: v[:, :rows] for n, v in data.items()})


def _finite(task: AbstractTask, data: Mapping[str, np.ndarray]) -> Statistics:
    labels, values = statistics(task, data)
    return Statistics(labels, values[np.isfinite(values).all(1)])


def _sentence(own: Statistics, usual: Statistics) -> str:
    p, large = adjusted(own.values[0], usual.values)
    told = [
        f"{own.labels[j]} is {'larger' if large[j] else 'smaller'} than in "
        f"{_share(own.values[0, j], usual.values[:, j], large[j]):.3g}% of simulated datasets"
        for j in np.argsort(p)[:SHOWN]
        if p[j] < LEVEL
    ]
    of = f"Bonferroni's correction for {len(p)} statistics"
    if told:
        return f"what does not fit: {'; '.join(told)} (p = {p.min():.2g} after {of})"
    return (
        "no column is strange by its mean, spread or extremes alone "
        f"(p = {p.min():.2g} after {of}); it is how the values go together"
    )


def _share(value: float, usual: np.ndarray, large: bool) -> float:
    """Per cent of simulated statistics that are strictly less extreme."""
    return 100 * float(np.mean(usual < value if large else usual > value))
