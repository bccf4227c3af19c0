"""The checks of one answer: is the dataset familiar, does the model fit it, how probable is it?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.method import Method
from amortppl.posterior.draws import Drawn
from amortppl.posterior.padding import Chunk, chunks
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod
from amortppl.trust.discrepancies import Moments
from amortppl.trust.discrepancy_programs import discrepancies_of, draws_of, prediction_keys
from amortppl.trust.misspecification import FLAG, Familiarity
from amortppl.trust.pareto import log_sum_exp
from amortppl.trust.strange_columns import tell_columns


class Answer(NamedTuple):
    """Values for `sample_stats` by name, each (T, ...), and notes for each of T datasets."""

    stats: dict[str, np.ndarray]
    notes: list[list[str]]


def check_answers(
    guide: TrainedMethod,
    familiarity: Familiarity,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    seed: int,
) -> Answer:
    """Distance and fit with their p-values, and the log evidence with its Monte-Carlo error."""
    fits: dict[int, np.ndarray] = {}
    key = fold_in(seed_key(seed), 13)
    for chunk in chunks(guide.task, datasets) if guide.method.quick else ():
        vectors = np.stack([drawn.vectors[i][: draws_of(guide.task)] for i in chunk.index])
        each = discrepancies_of(*_look_at(guide, familiarity, chunk, vectors, key))
        fits |= dict(zip(chunk.places, np.asarray(chunk.pick(each), np.float64), strict=True))
    features = np.nan_to_num(np.asarray(drawn.features, np.float64))
    rows = np.array([d.rows for d in datasets], float)
    nothing = np.zeros(0)  # there are no discrepancies of simulated datasets to rank among
    each_fit = np.stack([fits.get(i, nothing) for i in range(len(datasets))])
    judged = familiarity.judge(guide, features, each_fit, rows)
    evidence, error = log_evidence(drawn.log_joint, drawn.log_guide)
    stats = {
        "distance": judged.distance,
        "distance_p": judged.distance_p,
        "fit_p": judged.fit_p,
        "log_evidence": evidence,
        "log_evidence_error": error,
    }
    columns = tell_columns(guide.task, datasets, judged.distance_p < FLAG)
    notes = [a + b for a, b in zip(judged.notes, columns, strict=True)]
    return Answer(stats, notes)


def check_ahead(
    guide: TrainedMethod, familiarity: Familiarity, chunk: Chunk, vectors: np.ndarray
) -> None:
    """Begins to compile what `check_answers` needs for the draws (B, S, P) of a chunk."""
    if guide.method.quick:
        discrepancies_of.compile_ahead(
            *_look_at(guide, familiarity, chunk, vectors, fold_in(seed_key(0), 13))
        )


def _look_at(
    guide: TrainedMethod, familiarity: Familiarity, chunk: Chunk, vectors: np.ndarray, key: Array
) -> tuple[Method, Batch, np.ndarray, Array, Moments]:
    """The arguments of the discrepancies of a chunk, from its draws (B, S, P)."""
    moments = Moments(*(np.asarray(m, np.float32) for m in familiarity.moments))
    vectors = vectors[:, : draws_of(guide.task)]
    keys = prediction_keys(guide.task, key, chunk.index)[:, : vectors.shape[1]]
    return guide.method, chunk.batch, vectors, keys, moments


def check_evidence(drawn: Drawn, task: AbstractTask) -> Answer:
    """The log evidence alone, where no tasks were simulated to compare the datasets with; a note
    says so where it is a matter of time.
    """
    evidence, error = log_evidence(drawn.log_joint, drawn.log_guide)
    stats = {"log_evidence": evidence, "log_evidence_error": error}
    note = (
        "distance_p and fit_p not computed: they rank the data among simulated ones, each of which "
        f"would be integrated {task.local.rule} too; the log likelihood of each row given those "
        "before it (log_likelihood) tells the rows that do not fit"
    )
    return Answer(stats, [[note] if task.local.dear else [] for _ in range(len(evidence))])


def log_evidence(log_joint: np.ndarray, log_guide: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p(D) of each dataset by importance sampling, and its Monte-Carlo standard error.

        log 1/S sum_s w_s,   w_s = p(theta_s, D) / q(theta_s | D);   error = sd(w) / (mean(w)
        sqrt(S))

    Args:
        log_joint, log_guide: (T, S); NaN without a likelihood, and then so are both answers.
    """
    ratio = np.asarray(log_joint, np.float64) - np.asarray(log_guide, np.float64)
    silent = np.isnan(ratio).all(-1)
    ratio = np.nan_to_num(ratio, nan=-np.inf, posinf=-np.inf, neginf=-np.inf)
    draws = ratio.shape[-1]
    with np.errstate(all="ignore"):
        level = log_sum_exp(ratio)[..., 0] - np.log(draws)
        weights = np.exp(ratio - level[..., None])
        error = weights.std(-1) / np.sqrt(draws)
    return np.where(silent, np.nan, level), np.where(silent, np.nan, error)
