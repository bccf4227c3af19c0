"""One rung's answer for one dataset, judged, and the ladder's options."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.errors import DataError, quoted
from amortppl.posterior.draws import Drawn
from amortppl.training.trained import TrainedMethod
from amortppl.trust import psis

RUNGS = (
    "amortized",
    "weighted",
    "refined",
    "psis",
    "conditional",
    "svi",
    "many_chains",
    "nuts",
)
"""Names of rungs. `weighted` and `conditional` are climbed by `ap.fit`, and where asked for."""


DATASETS_PER_CALL = 8
"""Datasets that climb a rung in one compiled call: between two calls the clock is looked at."""


@dataclass(frozen=True)
class Ladder:
    """When a rung passes, and how far to climb.

    Attributes:
        khat: largest k-hat (Vehtari et al. 2024; Yao et al. 2018, "Yes, but did it work?").
        shift: largest change of a mean, in posterior sds, that reweighting may bring to draws that
            are used as they are; half of the 0.1 sd that answers should be good for.
        scale: likewise for the logarithm of a sd; about half of 5%.
        ess: smallest effective sample size of importance draws and of chains (Vehtari et al. 2021,
            "Rank-normalization, folding, and localization: an improved R-hat").
        rhat: largest R-hat of chains (the same).
        budget: seconds for all datasets; then the best so far is returned, marked. None for no end.
        keep: a file for datasets as they are finished; a run that was cut short does only the rest.
        rungs: which to climb, in order.

    Raises:
        DataError: a rung that there is not, or a negative budget.

    Example:
        >>> import amortppl as ap
        >>> ap.Ladder(budget=60.0, rungs=("refined", "psis")).khat
        0.7
        >>> ap.Ladder(rungs=("hmc",))
        Traceback (most recent call last):
        amortppl.errors.DataError: rungs: expected some of ...
    """

    khat: float = 0.7
    shift: float = 0.05
    scale: float = 0.03
    ess: float = 400.0
    rhat: float = 1.01
    budget: float | None = None
    keep: str | Path | None = None
    rungs: tuple[str, ...] = ("refined", "psis", "svi", "many_chains", "nuts")

    def __post_init__(self) -> None:
        unknown = [r for r in self.rungs if r not in RUNGS[1:]]
        if unknown:
            raise DataError(f"rungs: expected some of {quoted(RUNGS[1:])}, got {quoted(unknown)}")
        if self.budget is not None and not self.budget >= 0:
            raise DataError(f"budget: expected seconds, 0 or more, got {self.budget}")


class Attempt(NamedTuple):
    """One rung's answer for one dataset: S draws, equally weighted or with log weights, and whether
    it passed.

    `missed` is the change of the logarithm of a sd by mass where there are no draws
    (`amortppl.trust.missed_modes`), NaN where it was not looked for; `failed` says why the answer
    did not pass, and is empty where it did.
    """

    vectors: np.ndarray
    log_guide: np.ndarray
    log_joint: np.ndarray
    log_weights: np.ndarray
    khat: float
    ess: float
    rhat: float
    failed: str
    missed: float = np.nan


def attempt_from_draws(
    draws: tuple[np.ndarray, np.ndarray, np.ndarray],
    ladder: Ladder,
    check: psis.Check | None = None,
) -> Attempt:
    """Draws (S, P) with log q and log joint (S,), to be used as they are: reweighting must not move
    them.

    Args:
        check: their check, where it is known.
    """
    vectors, log_guide, log_joint = (np.asarray(a, np.float64) for a in draws)
    check = check or psis.check(log_joint[None], log_guide[None])
    weights, khat, size = check.log_weights[0], float(check.khat[0]), float(check.sample_size[0])
    failed = "" if khat < ladder.khat else f"k-hat {khat:.2f}"
    if not failed:
        shift, scale = (float(np.abs(a).max()) for a in psis.moment_shift(vectors, weights))
        failed = f"reweighting moves a mean by {shift:.2f} sd" if shift > ladder.shift else failed
        failed = failed or (
            f"reweighting changes a sd by {scale:.0%}" if scale > ladder.scale else ""
        )
    return Attempt(vectors, log_guide, log_joint, weights, khat, size, np.nan, failed)


class Climb:
    """One climb: what each dataset has so far."""

    def __init__(
        self,
        guide: TrainedMethod,
        datasets: Sequence[Dataset],
        drawn: Drawn,
        check: psis.Check,
        seed: int,
        ladder: Ladder,
    ) -> None:
        self.guide, self.datasets, self.seed, self.ladder = guide, datasets, seed, ladder
        self.begin, count = time.monotonic(), len(datasets)
        self.draws = np.asarray(drawn.vectors).shape[1]
        triples = zip(drawn.vectors, drawn.log_guide, drawn.log_joint, strict=True)
        self.best = [
            attempt_from_draws(t, ladder, psis.Check(*(a[[i]] for a in check)))
            for i, t in enumerate(triples)
        ]
        self.source = ["amortized"] * count
        self.why = np.full((count, len(RUNGS)), "", dtype=object)
        self.seconds = np.full((count, len(RUNGS)), np.nan)
        self.seconds[:, 0], self.late = 0.0, np.zeros(count, bool)
        self.start(self.best)

    def start(self, answers: list[Attempt]) -> None:
        """Begins with the guide's own answers; those that passed do not climb."""
        self.best = list(answers)
        self.why[:, 0] = [a.failed for a in answers]
        self.done = np.array([not a.failed for a in answers])

    def take(self, place: int, rung: str, answer: Attempt) -> None:
        """Keeps an answer that passed its check or is better than the one before."""
        if not np.isfinite(answer.vectors).all():
            self.why[place, RUNGS.index(rung)] = answer.failed or "draws are not finite"
            return
        better = np.isnan(answer.khat) or not answer.khat >= self.best[place].khat
        if not answer.failed or better or rung == "nuts":
            self.best[place], self.source[place] = answer, rung
            self.done[place] = not answer.failed
