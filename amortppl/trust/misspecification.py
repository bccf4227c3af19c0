"""Is a dataset like those that the model makes? Two p-values, calibrated on simulated tasks.

Distance: of what the method sees of the dataset (`Method.summary`) from simulated tasks, under a
Gaussian with a few principal directions (Tipping and Bishop 1999; Schmitt, Bürkner, Köthe and Radev
2023, "Detecting model misspecification in amortized Bayesian inference", arXiv 2112.08866). Fit:
the largest of the posterior-predictive discrepancies. Each is ranked among simulated tasks that
fitted nothing (conformal p-values, Vovk et al. 2005): p <= a with probability a for a dataset of
the model, however good or bad the guide is.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from amortppl.method import Method
from amortppl.posterior.draws import states
from amortppl.posterior.padding import chunk_size, pad_rows
from amortppl.predictive.predictor import At
from amortppl.runtime.compilation import jit_unoptimized, run_once
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.prepared_tasks import PreparedTasks
from amortppl.training.simulate import WHOLE, parts, simulate
from amortppl.training.trained import TrainedMethod
from amortppl.trust.discrepancies import Moments, flat, names
from amortppl.trust.discrepancy_programs import (
    INTEGRALS,
    discrepancies_of,
    draws_of,
    prediction_keys,
)

SIMULATED, NEAREST = 1024, 256
"""Tasks simulated; half of them place and scale, and of the other half a dataset is ranked among so
many whose numbers of rows are nearest, and all that are as near: the whole half of one number of
rows.
"""

IN_TURN = 256
"""Tasks simulated where a model runs through its rows one after another, which is slow."""

PATHS = 160
"""Tasks simulated where a path of states is taken out of each density: the fewest among which one
can be strange enough to be told.
"""

DIRECTIONS = 16

LEAST = 0.02
"""Smallest scale of a discrepancy: one that does not vary by so much among simulated tasks is a
constant up to rounding."""

FLAG = 0.0125
"""Either p-value below this is told: at most two of 256 simulated tasks are as strange. Which 256
varies with the guide: of 4000 datasets of the model one of linear regression tells 2.1%, one of
Poisson regression 3.1% (5.5% and 4.2% at 0.02).
"""


class Familiar(NamedTuple):
    """Of T datasets: both p-values (T,), and in words what does not fit, the worst first."""

    distance: np.ndarray
    distance_p: np.ndarray
    fit_p: np.ndarray
    notes: list[list[str]]


@dataclass(frozen=True)
class Familiarity:
    """What simulated tasks look like: as JSON in a guide's certificate.

    Attributes:
        moments: mean and sd of the inputs' columns.
        centre, scale: of each feature, (F,).
        directions: principal directions, each divided by its standard deviation, (K, F).
        rest: standard deviation of what they leave.
        rows: of each task that is ranked among, (R,).
        distances: (R,).
        level, spread: median and scale of each discrepancy, (J,).
        fits: the discrepancies, scaled, in absolute value, (R, J).
    """

    moments: list[list[float]]
    centre: list[float]
    scale: list[float]
    directions: list[list[float]]
    rest: float
    rows: list[float]
    distances: list[float]
    level: list[float]
    spread: list[float]
    fits: list[list[float]]

    @classmethod
    def from_simulations(
        cls, guide: TrainedMethod, tasks: PreparedTasks | None = None
    ) -> "Familiarity":
        """Of a guide, from simulated tasks.

        Args:
            guide: the guide.
            tasks: those that its training has left with their states, dear where there are any;
                where they are fewer than `SIMULATED`, tasks are simulated with the guide's seed.
        """
        task, key = guide.task, fold_in(seed_key(guide.seed), 11)
        if task.local.dear:  # a quarter of a second each: `infer` leaves the comparison out
            return cls([[], []], [], [], [], 1.0, [], [], [], [], [])
        count = _count(task)
        if tasks is None or len(tasks.usable) < count:
            made = run_once(simulate, task, key, parts(task, count, 1, WHOLE), 0)
            tasks = PreparedTasks(made.batches[0], None, made.usable)
        tasks = PreparedTasks(*jax.tree.map(lambda a: np.asarray(a[:count]), tuple(tasks)))
        batches = tasks.batches if task.local else pad_rows(task, tasks.batches)
        moments = _moments(guide, batches)
        seen = _look_at(guide.method, batches, tasks.states, fold_in(key, 1), moments)
        rows = np.asarray(batches.mask).sum(1)
        usable = np.asarray(tasks.usable)
        features, fits, rows = (np.asarray(a, np.float64)[usable] for a in (*seen, rows))
        return _fit_distances(moments, features, fits, rows)

    def json(self) -> dict[str, Any]:
        """As JSON can hold it, four significant figures."""
        return {
            n: np.asarray([float(f"{x:.4g}") for x in np.ravel(v)]).reshape(np.shape(v)).tolist()
            for n, v in asdict(self).items()
        }

    def judge(
        self, guide: TrainedMethod, features: np.ndarray, fits: np.ndarray, rows: np.ndarray
    ) -> Familiar:
        """Both p-values of T datasets from their features (T, F), discrepancies (T, J) and rows
        (T,).
        """
        distance = self.distance(features)
        scaled = np.abs((fits - np.asarray(self.level)) / np.asarray(self.spread))
        distances, fits = np.asarray(self.distances), np.asarray(self.fits)
        fits, largest = fits.reshape(len(self.rows), -1), np.zeros(len(self.rows))
        if fits.size:
            largest = fits.max(1)
        near_of = {count: self._near(count) for count in {*map(float, rows)}}
        p, fit_p, notes = [], [], []
        for far, each, count in zip(distance, scaled, rows, strict=True):
            near = near_of[float(count)]
            p.append(_rank(distances[near], far))
            simulated = fits[near]
            fit_p.append(_rank(largest[near], each.max()) if each.size else np.nan)
            notes.append(_words(guide, p[-1], fit_p[-1], each, simulated))
        return Familiar(distance, np.array(p), np.array(fit_p), notes)

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distances (T,), divided by the root of the number of features (NaN if 0)."""
        if not features.shape[1]:  # a method that tells nothing of what it sees
            return np.full(len(features), np.nan)
        away = np.clip((features - np.asarray(self.centre)) / np.asarray(self.scale), -1e3, 1e3)
        return _distances(away, np.asarray(self.directions).reshape(-1, away.shape[1]), self.rest)

    def _near(self, rows: float) -> np.ndarray:
        """Where tasks of about as many rows are."""
        apart = np.abs(np.log(np.asarray(self.rows)) - np.log(max(rows, 1.0)))
        return np.flatnonzero(apart <= np.sort(apart)[:NEAREST].max(initial=0.0))


def _distances(away: np.ndarray, directions: np.ndarray, rest: float) -> np.ndarray:
    if not away.shape[1]:
        return np.zeros(len(away))
    length = np.linalg.norm(directions, axis=1)
    along = away @ directions.T
    left = away - (along / length**2) @ directions
    return np.sqrt((np.sum(along**2, 1) + np.sum(left**2, 1) / rest**2) / away.shape[1])


def _fit_distances(
    moments: Moments, features: np.ndarray, fits: np.ndarray, rows: np.ndarray
) -> Familiarity:
    learn, rank = np.arange(len(rows)) % 2 == 0, np.arange(len(rows)) % 2 == 1
    features = np.nan_to_num(features)
    centre, scale = features[learn].mean(0), features[learn].std(0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    away = np.clip((features - centre) / scale, -1e3, 1e3)
    directions, rest = _principal(away[learn])
    level = np.median(fits[learn], 0)
    spread = (
        np.maximum(np.quantile(np.abs(fits[learn] - level), 0.68, axis=0), LEAST)
        if fits.size
        else level
    )
    scaled = np.abs((fits[rank] - level) / spread)
    fitted = (np.stack(moments), centre, scale, directions, rest, rows[rank])
    return Familiarity(
        *(
            np.asarray(a).tolist()
            for a in (*fitted, _distances(away[rank], directions, rest), level, spread, scaled)
        )
    )


def _principal(away: np.ndarray) -> tuple[np.ndarray, float]:
    """Directions over their sds (K, F), and the sd of what they leave."""
    if not away.shape[1]:
        return np.zeros((0, 0)), 1.0
    _, values, vectors = np.linalg.svd(away, full_matrices=False)
    sds = values / np.sqrt(len(away))
    kept = min(DIRECTIONS, int(np.sum(sds > 1e-3)))
    left = away.shape[1] - kept
    rest = np.sqrt(np.sum(sds[kept:] ** 2) / left) if left else 1.0
    return vectors[:kept] / sds[:kept, None], float(max(rest, 0.05))


def _count(task: AbstractTask) -> int:
    """How many tasks are looked at."""
    slow = task.ordered and task.memory is None
    if task.local and task.local.in_turn:
        return PATHS
    return IN_TURN if slow else SIMULATED // INTEGRALS if task.local else SIMULATED


def _rank(simulated: np.ndarray, value: float) -> float:
    """Share of simulated values that are as large, NaN of NaN."""
    if np.isnan(value):
        return np.nan
    return (1 + np.sum(simulated >= value)) / (1 + len(simulated))


def _words(
    guide: TrainedMethod, distance_p: float, fit_p: float, fits: np.ndarray, simulated: np.ndarray
) -> list[str]:
    notes = []
    if distance_p < FLAG:
        notes.append(f"the dataset is unlike those the guide was trained on (p = {distance_p:.2g})")
    if fit_p < FLAG:
        order = [i for i in np.argsort(-fits)[:3] if _rank(simulated[:, i], fits[i]) < FLAG]
        what = ", ".join(names(guide.task)[i] for i in order)
        notes.append(
            f"the model would not make such data (p = {fit_p:.2g}); what does not fit: {what}"
        )
    return notes


def _moments(guide: TrainedMethod, batches: Batch) -> Moments:
    if guide.task.block or not guide.task.inputs:
        return Moments(np.zeros(0), np.ones(0))
    rows = {n: v[batches.mask] for n, v in batches.data.items()}
    rows = evaluate(lambda r: flat(guide.task, r, list(guide.task.inputs)), rows)
    sd = rows.std(0)
    return Moments(rows.mean(0), np.where(sd > 1e-6, sd, 1.0))


def _look_at(
    method: Method, batches: Batch, prepared: Any, key: Array, moments: Moments
) -> tuple[np.ndarray, np.ndarray]:
    """Features (T, F) and discrepancies (T, J) of simulated tasks.

    By the programs that infer datasets of as many rows, a chunk at a time. States that training has
    prepared are taken up again with the weights that it ended with.
    """
    tasks, rows = batches.mask.shape
    size = chunk_size(rows * method.task.places(batches.data))
    features, fits = [], []
    for start in range(0, tasks, size):
        index = np.minimum(np.arange(start, start + size), tasks - 1).astype(np.uint32)
        batch, before = jax.tree.map(lambda a, i=index: a[i], (batches, prepared))
        values = states(method, batch) if before is None else _recalled(method, before, batch)
        vectors, seen = _few_draws(method, values, fold_in(fold_in(key, 0), index))
        features.append(np.asarray(seen))
        # Without a posterior over the model's latents there is nothing to replicate data from.
        each = np.zeros((size, 0))
        if vectors is not None:
            keys = prediction_keys(method.task, fold_in(key, 1), index)
            each = discrepancies_of(method, batch, vectors, keys, moments)
        fits.append(np.asarray(each))
    return np.concatenate(features)[:tasks], np.concatenate(fits)[:tasks]


@jit_unoptimized
def _recalled(method: Method, prepared: Any, batches: Batch) -> Any:
    """States of prepared tasks."""
    return jax.vmap(method.recall)(prepared, batches)


@jit_unoptimized
def _few_draws(method: Method, values: Any, keys: Array) -> tuple[Array | None, Array]:
    """`draws_of` draws (T, S, P), if there is a posterior over the latents, and features (T, F)."""

    def one(state: Any, key: Array) -> tuple[Array | None, Array]:
        readout, seen = method.readout(state), method.summary(state)
        if isinstance(readout, At) or not method.quick:
            return None, seen
        return readout.sample(key, draws_of(method.task))[0], seen

    return jax.vmap(one)(values, keys)
