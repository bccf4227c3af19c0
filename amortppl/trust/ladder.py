"""The ladder: for each dataset the cheapest answer that passes its check.

amortized -> refined (more Newton steps and variational sweeps) -> psis (adaptive importance resampling) ->
svi (a few steps from the guide's readout) -> nuts (started from the best draws, their covariance the mass matrix).
A rung that raises is recorded and the next one tried; only datasets that failed climb.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.errors import DataError, nearest
from amortppl.posterior.draws import Drawn
from amortppl.posterior.padding import group_by_shape
from amortppl.trust import psis
from amortppl.trust.attempt import RUNGS, TOGETHER, Attempt, Ladder, raw

if TYPE_CHECKING:
    from amortppl.guide.guide import Guide








class Climbed(NamedTuple):
    """Draws and checks of T datasets after the climb, values for `sample_stats`, and notes."""

    drawn: Drawn
    check: psis.Check
    stats: dict[str, np.ndarray]
    notes: list[list[str]]


def options(trust: str | None, given: Mapping[str, Any]) -> Ladder | None:
    """The ladder that `infer` was asked for.

    Raises:
        DataError: another word than "ladder", or an option that is none of its.
    """
    if trust not in (None, "ladder"):
        raise DataError(f"trust: expected 'ladder' or None, got {trust!r}")
    known = [f.name for f in fields(Ladder)]
    unknown = [n for n in given if n not in known]
    if trust is None and given:
        name = next(iter(given))
        said = "needs trust='ladder'" if name in known else "is for mini-batches; pass ap.batches(data) as the data"
        raise DataError(f"infer: {name!r} {said}")
    if unknown:
        raise DataError(f"infer: {unknown[0]!r} is no option of the ladder{nearest(unknown[0], known)}")
    return None if trust is None else Ladder(**given)




class _Climb:
    """One climb: what each dataset has so far."""

    def __init__(
        self, guide: "Guide", datasets: Sequence[Dataset], drawn: Drawn, check: psis.Check, seed: int, ladder: Ladder
    ) -> None:
        self.guide, self.datasets, self.seed, self.ladder = guide, datasets, seed, ladder
        self.begin, count = time.monotonic(), len(datasets)
        self.draws = np.asarray(drawn.vectors).shape[1]
        triples = zip(drawn.vectors, drawn.log_guide, drawn.log_joint, strict=True)
        self.best = [raw(t, ladder, psis.Check(*(a[[i]] for a in check))) for i, t in enumerate(triples)]
        self.last, self.source = list(self.best), ["amortized"] * count
        self.why = np.full((count, len(RUNGS)), "", dtype=object)
        self.seconds = np.full((count, len(RUNGS)), np.nan)
        self.why[:, 0], self.seconds[:, 0] = [a.failed for a in self.best], 0.0
        self.done = np.array([not a.failed for a in self.best])
        self.late = np.zeros(count, bool)

    def climb(self) -> None:
        """Up the rungs, each for the datasets that have not passed."""
        from amortppl.trust.resume import Kept
        from amortppl.trust.rungs.nuts import CLIMB

        kept = Kept(self) if self.ladder.keep is not None else None
        if kept is not None:
            kept.read()
        for rung in self.ladder.rungs:
            todo = np.nonzero(~self.done)[0]
            for places in group_by_shape(self.guide.task, [self.datasets[i] for i in todo]).values():
                for start in range(0, len(places), TOGETHER):
                    self._try(rung, CLIMB[rung], [int(todo[p]) for p in places[start : start + TOGETHER]])
                    if kept is not None:
                        kept.write()

    def _try(self, rung: str, attempt: Callable[..., list[Attempt]], places: list[int]) -> None:
        if self.ladder.budget is not None and time.monotonic() - self.begin >= self.ladder.budget:
            self.late[places] = True
            return
        column, begin = RUNGS.index(rung), time.monotonic()
        try:
            found = attempt(self, places)
            reasons = [a.failed for a in found]
        except Exception as error:  # whatever a rung raises is recorded, and the next one tried
            found, reasons = [None] * len(places), [f"raised {type(error).__name__}: {error}"] * len(places)
        self.seconds[places, column] = (time.monotonic() - begin) / len(places)
        for place, answer, reason in zip(places, found, reasons, strict=True):
            self.why[place, column] = reason
            if answer is not None:
                self._take(place, rung, answer)

    def _take(self, place: int, rung: str, answer: Attempt) -> None:
        """Keeps an answer that passed, or is better than what there was."""
        if not np.isfinite(answer.vectors).all():
            self.why[place, RUNGS.index(rung)] = answer.failed or "draws are not finite"
            return
        self.last[place] = answer
        better = np.isnan(answer.khat) or not answer.khat >= self.best[place].khat
        if not answer.failed or better or rung == "nuts":
            self.best[place], self.source[place] = answer, rung
            self.done[place] = not answer.failed


def climbed(
    guide: "Guide", datasets: Sequence[Dataset], drawn: Drawn, check: psis.Check, seed: int, ladder: Ladder
) -> Climbed:
    """For each dataset the answer of the cheapest rung that passes; see `Ladder`.

    `sample_stats` gets `source`, `reliable`, `rung_seconds` and `rung_failed` (by rung: its share of the wall
    clock, and why it failed), `rhat` and `importance_sample_size`. A dataset on which nothing passed keeps
    the best answer there was (by k-hat; NUTS before all), with `reliable` false and a note.
    """
    run = _Climb(guide, datasets, drawn, check, seed, ladder)
    if guide.task.has_density:
        run.climb()
    else:
        run.why[:, 0] = "the model has no likelihood: nothing can be checked, and no rung tried"
    answers = run.best
    stacked = [np.stack([getattr(a, n) for a in answers]) for n in ("vectors", "log_guide", "log_joint")]
    weights = np.stack([a.log_weights for a in answers])
    after = psis.Check(np.array([a.khat for a in answers]), weights, np.array([a.ess for a in answers]))
    stats = {
        "source": np.array(run.source),
        "reliable": run.done,
        "rhat": np.array([a.rhat for a in answers]),
        "rung_seconds": run.seconds,
        "rung_failed": run.why.astype(str),
    }
    notes = [_notes(run, i) for i in range(len(datasets))]
    return Climbed(drawn._replace(**dict(zip(drawn._fields[:3], stacked, strict=True))), after, stats, notes)


def _notes(run: _Climb, place: int) -> list[str]:
    if run.done[place]:
        return []
    reasons = [f"{rung}: {why}" for rung, why in zip(RUNGS, run.why[place], strict=True) if why]
    ended = f"the budget of {run.ladder.budget:g} s was spent" if run.late[place] else "no rung passed"
    return [f"NOT RELIABLE, {ended}; {'; '.join(reasons)}"]
