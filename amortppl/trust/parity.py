"""Is the log joint that k-hat rests on the model's own, on the user's rows as they came?

The engine pads rows, makes them 32 bits wide and adds up in 32 bits; whatever is wrong with that is
in its log joint and in its draws alike, and importance weights cannot see it. So at two draws of
each dataset (at one where rows have latents of their own) its log joint is compared with the sum of
what NumPyro says of the plain model (`amortppl.task.plain`), computed by NumPy in 64 bits.

    |log p_engine(theta_s, D) - log p(theta_s, D)| <= 0.1 + R + E,    R = 2^-24 (8 + sqrt(N) / 2) A

Where rows have latents of their own, both have them integrated and summed out, each in its way
(`amortppl.task.judge`); E is the error of the judge's integral, 0 elsewhere. A is the sum of the
sizes of the N terms. R bounds a float32 sum of N terms of one sign, each right to 8 units in the
last place: its error grows like sqrt(N) where rounding errors are independent (Higham 1993, "The
accuracy of floating point summation"). 0.1 nats change no mean by more than 0.1 sd.

The model runs on pieces of rows, as many as the largest power of two has that the dataset is large,
so that few shapes are traced; the last piece begins among the rows of the one before, and counts
its new rows only. Where the pieces do not add up to the engine's number, all rows are run at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from amortppl.data.checks import simulated_type
from amortppl.data.dataset import Dataset
from amortppl.posterior.draws import Drawn
from amortppl.task.abstract import AbstractTask
from amortppl.task.judged import Judged
from amortppl.task.lattice import add_errors, total_error

HARMLESS = 0.1
"""Nats by which two log joints may differ beside rounding."""

LONGEST = 4096
"""Rows of a piece, at most."""

ENTRIES = 1 << 20
"""Rows evaluated at once."""

Data = dict[str, np.ndarray]


class Sum(NamedTuple):
    """Log joints of the plain model, the sum of their terms' sizes, how many terms, and the error
    of what was integrated out.
    """

    value: np.ndarray
    size: np.ndarray
    terms: np.ndarray
    error: np.ndarray


class Parity(NamedTuple):
    """Of T datasets: engine's minus plain log joint, the largest of the draws looked at (T,); how
    much of it can be rounding; whether they agree; and whether they were compared. NaN and False
    where they were not.
    """

    error: np.ndarray
    allowed: np.ndarray
    agrees: np.ndarray
    checked: np.ndarray

    @classmethod
    def unknown(cls, count: int) -> "Parity":
        """Of datasets that were not compared."""
        nothing = np.full((2, count), np.nan)
        return cls(*nothing, *np.zeros((2, count), bool))


def why_not(task: AbstractTask) -> str:
    """Why a log joint cannot be compared with the model's; empty where it can."""
    return task.judge.reason if task.has_density else "it has no log density"


def compare(task: AbstractTask, datasets: Sequence[Dataset], drawn: Drawn) -> Parity:
    """Compares the log joints of draws with the plain model's on the rows as they came."""
    count = len(datasets)
    parity = Parity.unknown(count)
    if why_not(task):
        return parity
    first = 0 if task.judge.width == 1 else -1
    picked = [p[first:] for p in _pick_each(np.asarray(drawn.log_joint))]
    vectors = [np.asarray(v)[p] for v, p in zip(drawn.vectors, picked, strict=True)]
    data = [widen(task, d) for d in datasets]
    plain = log_joints(task, vectors, data)
    places = [place for place, chosen in enumerate(picked) if len(chosen)]
    if not places:
        return parity
    engine = np.stack([np.asarray(drawn.log_joint[i], np.float64)[picked[i]] for i in places])
    _judge(parity, places, engine, [plain[i] for i in places])
    for place, own in zip(places, engine, strict=True):
        if not parity.agrees[place] and task.row_free:
            _judge(parity, [place], own[None], [whole(task, vectors[place], data[place])])
    return parity


def pick_draws(joint: np.ndarray) -> np.ndarray:
    """The draw in the middle by log joint, and the lowest; of those whose log joint is finite."""
    order = np.argsort(joint)
    order = order[np.isfinite(joint[order])]
    return order[[0, len(order) // 2]] if len(order) else order


def compared_draws(task: AbstractTask, joint: np.ndarray) -> np.ndarray:
    """`pick_draws`; the one in the middle alone where rows have latents of their own."""
    return pick_draws(joint)[0 if task.judge.width == 1 else -1 :]


def _pick_each(joints: np.ndarray) -> list[np.ndarray]:
    """`pick_draws` of log joints (T, S), without sorting where all are finite."""
    middle = joints.shape[1] // 2
    order = np.argpartition(joints, (0, middle), 1)[:, [0, middle]]
    finite = np.isfinite(joints).all(1)
    return [
        own if is_finite else pick_draws(joint)
        for own, is_finite, joint in zip(order, finite, joints, strict=True)
    ]


def _judge(parity: Parity, places: Sequence[int], engine: np.ndarray, plain: Sequence[Sum]) -> None:
    """Fills in what log joints (T, S) of datasets at some places say."""
    sums = Sum(*np.stack(plain, 1))
    off, limit = engine - sums.value, allowed(sums)
    worst = np.argmax(np.nan_to_num(np.abs(off), nan=np.inf) / limit, 1)
    off, limit = (np.take_along_axis(a, worst[:, None], 1)[:, 0] for a in (off, limit))
    parity.error[places], parity.allowed[places] = off, limit
    parity.checked[places] = ~np.isposinf(limit)
    parity.agrees[places] = ~np.isposinf(limit) & (np.abs(off) <= limit)


def allowed(plain: Sum) -> np.ndarray:
    """By how much a 32-bit log joint may differ."""
    rounding = 2.0**-24 * (8 + np.sqrt(plain.terms) / 2) * np.nan_to_num(plain.size)
    return HARMLESS + rounding + plain.error


def middle_draws(
    datasets: Sequence[Dataset], drawn: Drawn, most: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The place and the draw in the middle by log joint of some datasets, spread over all."""
    for place in np.unique(np.linspace(0, len(datasets) - 1, most).astype(int)).tolist():
        for middle in pick_draws(np.asarray(drawn.log_joint[place]))[-1:]:
            yield place, np.asarray(drawn.vectors[place])[middle]


def widen(task: AbstractTask, dataset: Dataset) -> Data:
    """A dataset's numbers as they came, 64 bits wide, of the kinds that the model simulates."""
    return widen_numbers(task, {n: dataset.given.get(n, v) for n, v in dataset.arrays.items()})


def widen_numbers(task: AbstractTask, given: Mapping[str, np.ndarray]) -> Data:
    """Numbers by argument, 64 bits wide, of the kinds that the model simulates."""
    kinds = {n: simulated_type(task, n).kind for n in given}
    kinds |= {n: given[n].dtype.kind for n in kinds if task.grouping and n == task.grouping.name}
    wide = {"f": np.float64, "i": np.int64, "u": np.uint64}
    numbers = {n: np.nan_to_num(v) if kinds[n] != "f" else v for n, v in given.items()}
    return {n: v.astype(wide[kinds[n]]) for n, v in numbers.items()}


def log_joints(
    task: AbstractTask, vectors: Sequence[np.ndarray], data: Sequence[Data]
) -> list[Sum]:
    """Log joints of T datasets, each at its own few vectors (S, P), from pieces of their rows."""
    if not task.independent:
        return [whole(task, v, d) for v, d in zip(vectors, data, strict=True)]
    sums: dict[int, Sum] = {}
    by_size: dict[tuple[int, int], list[int]] = {}
    for place, each in enumerate(data):
        if task.has_further_lines(each):
            sums[place] = whole(task, vectors[place], each)
            continue
        width = task.judge.width * task.places(each)
        most_rows = min(LONGEST, 1 << (max(1, ENTRIES // width)).bit_length() - 1)
        size = min(1 << _rows(each).bit_length() - 1, most_rows)
        by_size.setdefault((size, task.places(each)), []).append(place)
    for (size, wide), places in by_size.items():
        most = max(1, ENTRIES // (size * task.judge.width * wide))
        sums |= _of_one_size(task, vectors, data, places, size, most)
    return [sums[i] for i in range(len(data))]


def _of_one_size(
    task: AbstractTask,
    vectors: Sequence[np.ndarray],
    data: Sequence[Data],
    places: Sequence[int],
    size: int,
    most: int,
) -> dict[int, Sum]:
    """Log joints of datasets at some places, from pieces of one size, so many of them at once."""
    rows = [_rows(data[place]) for place in places]
    pieces = [
        (place, vector, first, min(first, count - size))
        for place, count in zip(places, rows, strict=True)
        for vector in vectors[place]
        for first in range(0, count, size)
    ]
    draws = [len(vectors[place]) for place in places]
    ends = np.cumsum(draws)
    if not pieces:
        return dict.fromkeys(places, Sum(*np.zeros((4, 0))))
    starts = range(0, len(pieces), most)
    parts = np.concatenate([_pieces(task, data, pieces[i : i + most], size) for i in starts])
    each = np.repeat(-(-np.array(rows) // size), draws)
    together = _add_up(task, parts, np.cumsum(each) - each)
    return {
        place: Sum(*together[:, end - count : end])
        for place, count, end in zip(places, draws, ends, strict=True)
    }


def _pieces(
    task: AbstractTask, data: Sequence[Data], pieces: Sequence[tuple], size: int
) -> np.ndarray:
    """Of each piece: log prior, log likelihood of its new rows, the sum of their sizes, how many,
    and what their errors add up to, (K, 5).
    """
    count = 1 << (len(pieces) - 1).bit_length()
    filled = [*pieces, *pieces[:1] * (count - len(pieces))]
    stacked = {
        n: np.stack([data[place][n][start : start + size] for place, _, _, start in filled])
        for n in task.arguments
    }
    vectors = _engine_view(np.stack([vector for _, vector, _, _ in filled]))
    prior, rows, error = (a[: len(pieces)] for a in task.judge.log_densities(vectors, stacked))
    new = np.arange(size) >= np.array([first - start for _, _, first, start in pieces])[:, None]
    rows, error = np.where(new, rows, 0.0), np.where(new, error, 0.0)
    added = add_errors(error, task.judge.size)
    return np.stack([prior, rows.sum(1), np.abs(rows).sum(1), new.sum(1), added], 1)


def _add_up(task: AbstractTask, parts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """`Sum` of the pieces of each draw, which begin at `starts` (S,), as an array (4, S)."""
    prior, (_, rows, size, terms, error) = parts[starts, 0], np.add.reduceat(parts, starts).T
    return np.stack(
        [prior + rows, np.abs(prior) + size, terms, total_error(error, task.judge.size)]
    )


def whole(task: AbstractTask, vectors: np.ndarray, data: Data) -> Sum:
    """Log joints of one dataset at vectors (S, P), from all its rows at once."""
    totals = []
    for vector in vectors:
        prior, rows, error = (a[0] for a in _at_once(task, vector, data))
        size = np.abs(prior) + np.abs(rows).sum()
        total = total_error(add_errors(error, task.judge.size), task.judge.size)
        totals.append([prior + rows.sum(), size, rows.size, total])
    return Sum(*np.reshape(totals, (-1, 4)).T)


def log_likelihoods(task: AbstractTask, vector: np.ndarray, data: Data) -> np.ndarray:
    """Log likelihoods of the rows of one dataset, from all of them at once, (N,)."""
    return _at_once(task, vector, data).rows[0]


def _at_once(task: AbstractTask, vector: np.ndarray, data: Data) -> Judged:
    stacked = {n: data[n][None] for n in task.arguments}
    return task.judge.log_densities(_engine_view(vector[None]), stacked)


def _engine_view(vectors: np.ndarray) -> np.ndarray:
    """Draws as the engine evaluated them."""
    return np.asarray(vectors, np.float32).astype(np.float64)


def _rows(data: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(data.values())))
