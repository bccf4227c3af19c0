"""The ladder: for each dataset the cheapest answer that passes its check.

amortized -> weighted (the same draws, resampled by their weights) -> refined (more Newton steps and
variational sweeps) -> psis (adaptive importance resampling) -> conditional (scales first, all other
latents given them) -> svi (a few steps from the guide's readout) -> many_chains (of few latents:
importance sampling from the prior on, then short chains in all modes) -> nuts (started from the
best draws, their covariance the mass matrix). A rung that raises is recorded and the next one
tried; only datasets that failed climb. An answer fails as well where its posterior has mass without
draws (`amortppl.trust.missed_modes`): another mode, or a tail farther out than its draws reach.
"""

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.errors import GuideError
from amortppl.posterior.draws import Drawn
from amortppl.posterior.padding import group_by_shape
from amortppl.training.trained import TrainedMethod
from amortppl.trust import psis
from amortppl.trust.attempt import DATASETS_PER_CALL, RUNGS, Attempt, Climb, Ladder
from amortppl.trust.missed_modes import missed_spread
from amortppl.trust.resume import SavedClimb
from amortppl.trust.verdict import MISSED

Rung = Callable[[Climb, list[int]], Sequence[Attempt]]


def _import_late(file: str, name: str) -> Rung:
    """A rung whose file is imported when it is climbed: most answers climb none."""
    return lambda run, places: getattr(import_module(f"{PACKAGE}.{file}"), name)(run, places)


PACKAGE = "amortppl.trust.rungs"

SEEN = ("vectors", "log_guide", "log_joint")
"""What draws are looked at by."""

CLIMB = {
    "weighted": _import_late("weighted", "resample_by_weights"),
    "refined": _import_late("refinement", "refine"),
    "psis": _import_late("importance", "resample"),
    "conditional": _import_late("conditional", "draw_conditionally"),
    "svi": _import_late("svi", "fit_svi"),
    "many_chains": _import_late("many_chains", "draw_from_modes"),
    "nuts": _import_late("nuts", "run_nuts"),
}
"""What each rung does: (climb, places) -> an attempt for each place."""


class LadderResult(NamedTuple):
    """Draws and checks of T datasets after the climb, values for `sample_stats`, and notes."""

    drawn: Drawn
    check: psis.Check
    stats: dict[str, np.ndarray]
    notes: list[list[str]]


def climb_rungs(run: Climb) -> None:
    """Up the rungs, each for the datasets that have not passed."""
    saved = SavedClimb(run) if run.ladder.keep is not None else None
    if saved is not None:
        saved.read()
    for rung in run.ladder.rungs:
        todo = np.nonzero(~run.done)[0]
        shapes = group_by_shape(run.guide.task, [run.datasets[i] for i in todo])
        for places in shapes.values():
            for start in range(0, len(places), DATASETS_PER_CALL):
                chunk = places[start : start + DATASETS_PER_CALL]
                _try(run, rung, [int(todo[p]) for p in chunk])
                if saved is not None:
                    saved.write()


def _try(run: Climb, rung: str, places: list[int]) -> None:
    """One rung for some datasets. An exception is recorded, and the next rung is tried."""
    budget = run.ladder.budget
    if budget is not None and time.monotonic() - run.begin >= budget:
        run.late[places] = True
        return
    column, begin = RUNGS.index(rung), time.monotonic()
    try:
        answers: list[Attempt | None] = [*look_elsewhere(run, places, CLIMB[rung](run, places))]
        reasons = [a.failed for a in answers if a is not None]
    except Exception as error:
        answers = [None] * len(places)
        own = isinstance(error, GuideError)  # as where the method has no such step
        reasons = [str(error) if own else f"raised {type(error).__name__}: {error}"] * len(places)
    run.seconds[places, column] = (time.monotonic() - begin) / len(places)
    for place, answer, reason in zip(places, answers, reasons, strict=True):
        run.why[place, column] = reason
        if answer is not None:
            run.take(place, rung, answer)


def look_elsewhere(run: Climb, places: Sequence[int], attempts: Sequence[Attempt]) -> list[Attempt]:
    """Fails those attempts that passed their own check, and yet have no draws where there is mass.

    Args:
        places: of the datasets that the attempts are of.
    """
    good = np.array([not a.failed for a in attempts], bool)
    drawn = Drawn(*([getattr(a, n) for a in attempts] for n in SEEN), [])
    weights = [a.log_weights for a in attempts]
    datasets = [run.datasets[place] for place in places]
    missed = missed_spread(run.guide.task, datasets, drawn, weights, good)
    return [_with_missed(*each) for each in zip(attempts, missed, strict=True)]


def _with_missed(attempt: Attempt, missed: float) -> Attempt:
    """An attempt with what it misses, failed where that is too much."""
    if not missed > MISSED:
        return attempt._replace(missed=float(missed))
    fold = np.exp(min(missed, 20.0))
    failed = f"mass where there are no draws would make a sd {fold:.3g} times as large"
    return attempt._replace(missed=float(missed), failed=failed)


def climb(
    guide: TrainedMethod,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    check: psis.Check,
    seed: int,
    ladder: Ladder,
) -> LadderResult:
    """For each dataset the answer of the cheapest rung that passes; see `Ladder`.

    `sample_stats` gets `source`, `reliable`, `rung_seconds` and `rung_failed` (by rung: its share
    of the wall clock, and why it failed), `rhat` and `missed_spread`. A dataset on which
    no rung passed keeps its best answer (the one with the smallest k-hat, or that of NUTS), with
    `reliable` false and a note.
    """
    run = Climb(guide, datasets, drawn, check, seed, ladder)
    if guide.task.has_density:
        run.start(look_elsewhere(run, range(len(datasets)), run.best))
        climb_rungs(run)
    else:
        run.why[:, 0] = "the model has no likelihood: nothing can be checked, and no rung tried"
    answers = run.best
    stacked = [np.stack([getattr(a, n) for a in answers]) for n in SEEN]
    weights = np.stack([a.log_weights for a in answers])
    after = psis.Check(
        np.array([a.khat for a in answers]), weights, np.array([a.ess for a in answers])
    )
    stats = {
        "source": np.array(run.source),
        "reliable": run.done,
        "rhat": np.array([a.rhat for a in answers]),
        "missed_spread": np.array([a.missed for a in answers]),
        "rung_seconds": run.seconds,
        "rung_failed": run.why.astype(str),
    }
    notes = [_notes(run, i) for i in range(len(datasets))]
    return LadderResult(
        drawn._replace(**dict(zip(drawn._fields[:3], stacked, strict=True))), after, stats, notes
    )


def _notes(run: Climb, place: int) -> list[str]:
    if run.done[place]:
        return []
    reasons = [f"{rung}: {why}" for rung, why in zip(RUNGS, run.why[place], strict=True) if why]
    ended = (
        f"the budget of {run.ladder.budget:g} s was spent" if run.late[place] else "no rung passed"
    )
    return [f"NOT RELIABLE, {ended}; {'; '.join(reasons)}"]
