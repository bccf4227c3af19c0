"""Is the log joint that k-hat rests on the model's own, on the user's rows as they came?

The engine pads rows, makes them 32 bits wide and adds up in 32 bits; whatever is wrong with that is
in its log joint and in its draws alike, and importance weights cannot see it. So at two draws of
each dataset its log joint is compared with the sum of what NumPyro says of the plain model
(`amortppl.task.plain`), computed by NumPy in 64 bits.

    |log p_engine(theta_s, D) - log p(theta_s, D)| <= 0.1 + R,    R = 2^-24 (8 + sqrt(N) / 2) A

A is the sum of the sizes of the N terms. R bounds a float32 sum of N terms of one sign, each right
to 8 units in the last place: its error grows like sqrt(N) where rounding errors are independent
(Higham 1993, "The accuracy of floating point summation"). 0.1 nats change no mean by more than 0.1
sd.

The model runs on pieces of rows, as many as the largest power of two has that the dataset is large,
so that few shapes are traced; the last piece begins among the rows of the one before, and counts
its new rows only. Where the pieces do not add up to the engine's number, all rows are run at once.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from amortppl.data.checks import simulated_type
from amortppl.data.dataset import Dataset
from amortppl.posterior.draws import Drawn
from amortppl.runtime.numpy_evaluation import Traced
from amortppl.task.abstract import AbstractTask
from amortppl.task.enumeration import Marginal
from amortppl.task.parity import Point, plain_sites, split_sites

HARMLESS = 0.1
"""Nats by which two log joints may differ beside rounding."""

LONGEST = 4096
"""Rows of a piece, at most."""

ENTRIES = 1 << 20
"""Rows evaluated at once."""

Data = dict[str, np.ndarray]


class Sum(NamedTuple):
    """Log joints of the plain model, the sum of their terms' sizes, and how many terms."""

    value: np.ndarray
    size: np.ndarray
    terms: np.ndarray


class Parity(NamedTuple):
    """Of T datasets: engine's minus plain log joint, the largest of the draws looked at (T,); how
    much of it can be rounding; and whether they agree. NaN and True where nothing is compared.
    """

    error: np.ndarray
    allowed: np.ndarray
    agrees: np.ndarray


def is_comparable(task: AbstractTask) -> bool:
    """Whether the engine's log joint is the model's: not where latents were integrated out, which
    is compared when the task is made.
    """
    return task.has_density and not task.local and not isinstance(task.model, Marginal)


def compare(task: AbstractTask, datasets: Sequence[Dataset], drawn: Drawn) -> Parity:
    """Compares the log joints of draws with the plain model's on the rows as they came."""
    count = len(datasets)
    parity = Parity(np.full(count, np.nan), np.full(count, np.nan), np.ones(count, bool))
    if not is_comparable(task):
        return parity
    picked = [pick_draws(np.asarray(j)) for j in drawn.log_joint]
    vectors = [np.asarray(v)[p] for v, p in zip(drawn.vectors, picked, strict=True)]
    data = [widen(task, d) for d in datasets]
    plain = log_joints(task, vectors, data)
    for place, (chosen, sums) in enumerate(zip(picked, plain, strict=True)):
        if not len(chosen):
            continue
        engine = np.asarray(drawn.log_joint[place], np.float64)[chosen]
        _judge(parity, place, engine, sums)
        if not parity.agrees[place] and task.row_free:
            _judge(parity, place, engine, whole(task, vectors[place], data[place]))
    return parity


def pick_draws(joint: np.ndarray) -> np.ndarray:
    """The draw in the middle by log joint, and the lowest; of those whose log joint is finite."""
    order = np.argsort(joint)
    order = order[np.isfinite(joint[order])]
    return order[[0, len(order) // 2]] if len(order) else order


def _judge(parity: Parity, place: int, engine: np.ndarray, plain: Sum) -> None:
    off, limit = engine - plain.value, allowed(plain)
    worst = int(np.argmax(np.nan_to_num(np.abs(off), nan=np.inf) / limit))
    parity.error[place], parity.allowed[place] = off[worst], limit[worst]
    parity.agrees[place] = abs(off[worst]) <= limit[worst]


def allowed(plain: Sum) -> np.ndarray:
    """By how much a 32-bit log joint may differ."""
    return HARMLESS + 2.0**-24 * (8 + np.sqrt(plain.terms) / 2) * np.nan_to_num(plain.size)


def widen(task: AbstractTask, dataset: Dataset) -> Data:
    """A dataset's numbers as they came, 64 bits wide, of the kinds that the model simulates."""
    kinds = {n: simulated_type(task, n).kind for n in dataset.arrays}
    given = {n: dataset.given.get(n, v) for n, v in dataset.arrays.items()}
    wide = {"f": np.float64, "i": np.int64, "u": np.uint64}
    filled = {n: np.nan_to_num(v) if kinds[n] != "f" else v for n, v in given.items()}
    return {n: v.astype(wide[kinds[n]]) for n, v in filled.items()}


def log_joints(
    task: AbstractTask, vectors: Sequence[np.ndarray], data: Sequence[Data]
) -> list[Sum]:
    """Log joints of T datasets, each at its own few vectors (S, P), from pieces of their rows."""
    if not task.row_free or task.tied:
        return [whole(task, v, d) for v, d in zip(vectors, data, strict=True)]
    sums: dict[int, Sum] = {}
    by_size: dict[int, list[int]] = {}
    for place, each in enumerate(data):
        by_size.setdefault(min(1 << _rows(each).bit_length() - 1, LONGEST), []).append(place)
    for size, places in by_size.items():
        pieces = [
            (place, vector, first, min(first, _rows(data[place]) - size))
            for place in places
            for vector in vectors[place]
            for first in range(0, _rows(data[place]), size)
        ]
        most = max(1, ENTRIES // size)
        parts = [
            part
            for start in range(0, len(pieces), most)
            for part in _pieces(task, data, pieces[start : start + most], size)
        ]
        own: dict[int, list[Part]] = {place: [] for place in places}
        for (place, *_), part in zip(pieces, parts, strict=True):
            own[place].append(part)
        sums |= {place: _add_up(each, len(vectors[place])) for place, each in own.items()}
    return [sums[i] for i in range(len(data))]


class Part(NamedTuple):
    """Of one piece: log prior, log likelihood of its rows, the sum of their sizes, how many."""

    prior: float
    rows: float
    size: float
    terms: int


def _pieces(task: AbstractTask, data: Sequence[Data], pieces: Sequence, size: int) -> list[Part]:
    count = 1 << (len(pieces) - 1).bit_length()
    filled = [*pieces, *pieces[:1] * (count - len(pieces))]
    stacked = {
        n: np.stack([data[place][n][start : start + size] for place, _, _, start in filled])
        for n in task.arguments
    }
    vectors = _engine_view(np.stack([vector for _, vector, _, _ in filled]))
    prior, rows = _traced(task, count, size)(vectors, stacked)
    parts = []
    for i, (_, _, first, start) in enumerate(pieces):
        own = rows[i, first - start :]
        parts.append(Part(prior[i], own.sum(), np.abs(own).sum(), len(own)))
    return parts


def _add_up(parts: Sequence[Part], draws: int) -> Sum:
    """Sums of the pieces of each draw, (S,)."""
    if not draws:
        return Sum(*np.zeros((3, 0)))
    prior, rows, size, terms = np.moveaxis(np.reshape(parts, (draws, -1, 4)), 2, 0)
    return Sum(prior[:, 0] + rows.sum(1), np.abs(prior[:, 0]) + size.sum(1), terms.sum(1))


def whole(task: AbstractTask, vectors: np.ndarray, data: Data) -> Sum:
    """Log joints of one dataset at vectors (S, P), from all its rows at once."""
    totals = []
    for vector in vectors:
        prior, rows = _at_once(task, vector, data)
        size = np.abs(prior).sum() + np.abs(rows).sum()
        totals.append([prior.sum() + rows.sum(), size, rows.size])
    return Sum(*np.reshape(totals, (-1, 3)).T)


def log_likelihood(task: AbstractTask, vector: np.ndarray, data: Data) -> float:
    """Log likelihood of one dataset, from all its rows at once."""
    return float(_at_once(task, vector, data)[1].sum())


def _at_once(task: AbstractTask, vector: np.ndarray, data: Data) -> tuple[np.ndarray, np.ndarray]:
    stacked = {n: data[n][None] for n in task.arguments}
    return _traced(task, 1, _rows(data))(_engine_view(vector[None]), stacked)


def _engine_view(vectors: np.ndarray) -> np.ndarray:
    """Draws as the engine evaluated them."""
    return np.asarray(vectors, np.float32).astype(np.float64)


def _rows(data: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(data.values())))


@lru_cache(maxsize=128)
def _traced(task: AbstractTask, count: int, size: int) -> Traced:
    """(Log priors (K,), log likelihoods of rows (K, B)) of K pieces of B rows."""
    data = {
        n: jax.ShapeDtypeStruct(
            (count, size, *task.rows_like[n].shape[1:]), simulated_type(task, n)
        )
        for n in task.arguments
    }
    vectors = jax.ShapeDtypeStruct((count, task.latents.size), jnp.float32)
    return Traced(jax.vmap(lambda v, d: _densities(task, v, d)), vectors, data)


def _densities(
    task: AbstractTask, vector: Array, data: dict[str, Array]
) -> tuple[Array, Float[Array, " B"]]:
    prior, rows = split_sites(task, plain_sites(task, Point(vector, {}, data)))
    count = next(iter(data.values())).shape[0]
    by_row = [jnp.broadcast_to(r if r.ndim else r / count, (count,)) for r in rows.values()]
    return sum(map(jnp.sum, prior.values()), jnp.zeros(())), sum(by_row, jnp.zeros(count))
