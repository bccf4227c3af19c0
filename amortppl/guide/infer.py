"""The posterior of datasets in memory, each with its check: the body of `Guide.infer`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.errors import DataError
from amortppl.guide.trees import posterior_tree
from amortppl.posterior.draws import Drawn, constrain, draw
from amortppl.runtime.arguments import expect_draws
from amortppl.training.trained import TrainedMethod
from amortppl.trust import ladder, psis
from amortppl.trust.attempt import Ladder
from amortppl.trust.checks import check_answers, check_evidence
from amortppl.trust.missed_modes import judge_missed, missed_spread
from amortppl.trust.misspecification import Familiarity
from amortppl.trust.parity_notes import judge_parity
from amortppl.trust.verdict import all_finite, are_reliable

if TYPE_CHECKING:
    import xarray

POINTWISE = 20_000_000
"""Draws times rows up to which pointwise log likelihoods and predictive draws are kept by
default.
"""


def infer(
    guide: TrainedMethod,
    familiarity: Familiarity | None,
    data: Any,
    draws: int,
    seed: int,
    columns: Columns | None,
    keep: Sequence[bool | None],
    climb: Ladder | None,
) -> "xarray.DataTree":
    """Posterior of one dataset or of a list of datasets; see `Guide.infer`.

    Args:
        familiarity: what simulated tasks look like to the guide; None where none were simulated.
        keep: whether to keep log likelihoods by row, and predictive draws; None by their size.
        climb: the ladder, or None for the guide's own answer.
    """
    single = not isinstance(data, Sequence) or isinstance(data, str | bytes)
    datasets = [read(guide.task, d, columns) for d in ([data] if single else data)]
    if not datasets:
        raise DataError("data: expected at least one dataset, got an empty list")
    expect_draws(draws, guide.task.latents.size * len(datasets))
    notes = guide.notes(datasets)
    psis.import_in_background()
    drawn = draw(guide.method, datasets, draws, seed)
    check = psis.check(np.asarray(drawn.log_joint), np.asarray(drawn.log_guide))
    stats, more = (
        check_answers(guide, familiarity, datasets, drawn, seed)
        if familiarity
        else check_evidence(drawn)
    )
    notes = _join_notes(notes, more)
    if climb is not None:
        drawn, check, climbed, more = ladder.climb(guide, datasets, drawn, check, seed, climb)
        stats, notes = stats | climbed, _join_notes(notes, more)
    moved = psis.moment_shifts(drawn.vectors, check)
    stats |= {"mean_moved": moved.mean, "sd_moved": moved.sd}
    if climb is None:
        notes = _join_notes(notes, psis.misleading_notes(check, moved, guide.task.latents.labels()))
    judged, more = judge_parity(guide.task, datasets, drawn)
    notes = _join_notes(notes, more)
    missed = missed_spread(guide.task, datasets, drawn, check.log_weights)
    notes = _join_notes(notes, judge_missed(missed))
    values = [constrain(guide.method, v, d) for v, d in zip(drawn.vectors, datasets, strict=True)]
    finite = np.array([all_finite(v[n] for n in guide.task.latents.names) for v in values])
    same = judged["log_joint_agrees"], judged["log_joint_checked"]
    reliable = are_reliable(check, moved, finite, *same, missed, stats.get("reliable"))
    judged |= {"finite": finite, "missed_spread": missed, "reliable": reliable}
    stats |= judged
    kept = _what_to_keep(guide, datasets, drawn, keep)
    return posterior_tree(guide, datasets, drawn, values, check, notes, kept, seed, single, stats)


def _join_notes(notes: Sequence[list[str]], more: Sequence[list[str]]) -> list[list[str]]:
    return [a + b for a, b in zip(notes, more, strict=True)]


def _what_to_keep(
    guide: TrainedMethod, datasets: Sequence[Dataset], drawn: Drawn, keep: Sequence[bool | None]
) -> list[bool]:
    """Whether log likelihoods by row and predictive draws are kept."""
    draws = np.asarray(drawn.vectors).shape[1]
    size = draws * sum(d.arrays[a].size for d in datasets for a in guide.task.observed)
    pointwise, predictive = (size <= POINTWISE if k is None else k for k in keep)
    return [pointwise and guide.task.has_density, predictive]
