"""The ladder: for each dataset the cheapest answer that passes its check.

amortized -> refined (more Newton steps and variational sweeps) -> psis (adaptive importance
resampling) -> conditional (scales first, all other latents given them) -> svi (a few steps from the
guide's readout) -> nuts (started from the best draws, their covariance the mass matrix). A rung
that raises is recorded and the next one tried; only datasets that failed climb.
"""

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.posterior.draws import Drawn
from amortppl.posterior.padding import group_by_shape
from amortppl.training.trained import TrainedMethod
from amortppl.trust import psis
from amortppl.trust.attempt import DATASETS_PER_CALL, RUNGS, Attempt, Climb, Ladder
from amortppl.trust.resume import SavedClimb

Rung = Callable[[Climb, list[int]], Sequence[Attempt]]


def _import_late(file: str, name: str) -> Rung:
    """A rung whose file is imported when it is climbed: most answers climb none."""
    return lambda run, places: getattr(import_module(f"{PACKAGE}.{file}"), name)(run, places)


PACKAGE = "amortppl.trust.rungs"

CLIMB = {
    "refined": _import_late("refinement", "refine"),
    "psis": _import_late("importance", "resample"),
    "conditional": _import_late("conditional", "draw_conditionally"),
    "svi": _import_late("svi", "fit_svi"),
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
        answers: list[Attempt | None] = [*CLIMB[rung](run, places)]
        reasons = [a.failed for a in answers if a is not None]
    except Exception as error:
        answers = [None] * len(places)
        reasons = [f"raised {type(error).__name__}: {error}"] * len(places)
    run.seconds[places, column] = (time.monotonic() - begin) / len(places)
    for place, answer, reason in zip(places, answers, reasons, strict=True):
        run.why[place, column] = reason
        if answer is not None:
            run.take(place, rung, answer)


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
    of the wall clock, and why it failed), `rhat` and `importance_sample_size`. A dataset on which
    no rung passed keeps its best answer (the one with the smallest k-hat, or that of NUTS), with
    `reliable` false and a note.
    """
    run = Climb(guide, datasets, drawn, check, seed, ladder)
    if guide.task.has_density:
        climb_rungs(run)
    else:
        run.why[:, 0] = "the model has no likelihood: nothing can be checked, and no rung tried"
    answers = run.best
    stacked = [
        np.stack([getattr(a, n) for a in answers]) for n in ("vectors", "log_guide", "log_joint")
    ]
    weights = np.stack([a.log_weights for a in answers])
    after = psis.Check(
        np.array([a.khat for a in answers]), weights, np.array([a.ess for a in answers])
    )
    stats = {
        "source": np.array(run.source),
        "reliable": run.done,
        "rhat": np.array([a.rhat for a in answers]),
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
