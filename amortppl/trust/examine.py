"""All checks of the answers of some datasets, the ladder among them, and the verdict."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.posterior.draws import Drawn, constrain_each
from amortppl.training.trained import TrainedMethod
from amortppl.trust import ladder, psis
from amortppl.trust.attempt import Ladder
from amortppl.trust.checks import check_answers, check_evidence
from amortppl.trust.missed_modes import judge_missed, missed_spread
from amortppl.trust.misspecification import Familiarity
from amortppl.trust.parity_notes import judge_parity
from amortppl.trust.start_weights import check_weights
from amortppl.trust.verdict import all_finite, are_reliable, verdicts

Notes = list[list[str]]

NOT_RELIABLE = "NOT RELIABLE"
"""How a note on an answer begins that cannot be used."""

TOLD = ("usable by importance weights", "not checked", "not compared")
"""How verdicts begin whose reason has a note of its own."""


class Examined(NamedTuple):
    """Answers of T datasets with all that is known of them.

    Attributes:
        drawn: the draws, of the ladder's rungs where it was climbed.
        check: their k-hat and weights.
        values: latents and deterministic sites of each dataset by name, (S, ...).
        stats: values for `sample_stats` by name, each (T, ...).
        notes: warnings, by dataset.
    """

    drawn: Drawn
    check: psis.Check
    values: list[dict[str, np.ndarray]]
    stats: dict[str, np.ndarray]
    notes: Notes


def examine(
    guide: TrainedMethod,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    seed: int,
    climb: Ladder | None,
    familiarity: Familiarity | None,
    together: int | None = None,
) -> Examined:
    """Checks the draws of T datasets, climbs where they fail and a ladder is given, and judges.

    Args:
        guide: the guide that they are from.
        datasets: the datasets.
        drawn: S draws for each.
        seed: of further draws.
        climb: the ladder, or None for the guide's own answer.
        familiarity: what simulated tasks look like to the guide; None to leave that out.
        together: datasets in one compiled call, see `amortppl.posterior.padding.chunks`.
    """
    check = check_weights(guide, datasets, drawn)
    stats, notes = (
        check_answers(guide, familiarity, datasets, drawn, seed)
        if familiarity
        else check_evidence(drawn, guide.task)
    )
    if climb is not None:
        drawn, check, climbed, more = ladder.climb(guide, datasets, drawn, check, seed, climb)
        stats, notes = stats | climbed, join_notes(notes, more)
    moved = psis.moment_shifts(drawn.vectors, check)
    if climb is None:
        labels = guide.task.latents.labels()
        notes = join_notes(notes, psis.misleading_notes(check, moved, labels))
    values = constrain_each(guide.method, drawn.vectors, datasets, together)
    judged, more, words = _judge(guide, datasets, drawn, check, moved, values, stats)
    moves = {"mean_moved": moved.mean, "sd_moved": moved.sd}
    notes = join_notes(notes, more)
    told = _verdict_notes(notes, words)
    return Examined(drawn, check, values, {**stats, **moves, **judged}, join_notes(notes, told))


def check_draws(guide: TrainedMethod, datasets: Sequence[Dataset], drawn: Drawn) -> Notes:
    """Notes on draws that predictions rest on: all checks of an answer that need no simulations.

    Warns:
        UnreliableWarning: the log joint behind k-hat is not the model's own, or another mode has no
            draws.
    """
    check = check_weights(guide, datasets, drawn)
    moved = psis.moment_shifts(drawn.vectors, check)
    values = constrain_each(guide.method, drawn.vectors, datasets)
    judged, notes, words = _judge(guide, datasets, drawn, check, moved, values, {})
    told = [
        [] if good else [f"the draws that predictions rest on: {verdict}"]
        for good, verdict in zip(judged["reliable"], words, strict=True)
    ]
    return join_notes(told, notes)


def _judge(
    guide: TrainedMethod,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    check: psis.Check,
    moved: psis.MomentShift,
    values: Sequence[Mapping[str, np.ndarray]],
    stats: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], Notes, list[str]]:
    """What the judges beside k-hat say, and the verdict on all of it, also in words."""
    judged, notes = judge_parity(guide.task, datasets, drawn)
    finite = np.array([all_finite(v[n] for n in guide.task.latents.names) for v in values])
    same = judged["log_joint_agrees"], judged["log_joint_checked"]
    passed, unseen = stats.get("reliable"), np.zeros(len(datasets))
    missed = stats.get("missed_spread")
    if missed is None:
        good = are_reliable(verdicts(check, moved, finite, *same, unseen, passed))
        missed = missed_spread(guide.task, datasets, drawn, check.log_weights, good)
    words = verdicts(check, moved, finite, *same, missed, passed)
    judged |= {"finite": finite, "missed_spread": missed, "reliable": are_reliable(words)}
    return judged, join_notes(notes, judge_missed(missed)), words


def _verdict_notes(notes: Notes, words: Sequence[str]) -> Notes:
    """The verdict on each answer that is not reliable, where no note says so yet."""
    told = [any(n.startswith(NOT_RELIABLE) for n in own) for own in notes]
    good = are_reliable(words)
    return [
        [] if is_good or is_told or word.startswith(TOLD) else [_as_note(word)]
        for word, is_good, is_told in zip(words, good, told, strict=True)
    ]


def _as_note(verdict: str) -> str:
    return f"{NOT_RELIABLE}: {verdict.removeprefix('not reliable: ')}"


def join_notes(notes: Sequence[list[str]], more: Sequence[list[str]]) -> Notes:
    """Two lists of notes by dataset as one."""
    return [a + b for a, b in zip(notes, more, strict=True)]
