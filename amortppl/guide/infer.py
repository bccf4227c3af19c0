"""The posterior of datasets in memory, each with its check: the body of `Guide.infer`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.errors import DataError
from amortppl.guide.trees import posterior_tree
from amortppl.posterior.draws import Drawn, constrain_each, draw
from amortppl.training.trained import TrainedMethod
from amortppl.trust import ladder, psis
from amortppl.trust.attempt import Ladder
from amortppl.trust.checks import check_answers
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
    known: Familiarity,
    data: Any,
    draws: int,
    seed: int,
    columns: Columns | None,
    keep: Sequence[bool | None],
    climb: Ladder | None,
) -> "xarray.DataTree":
    """Posterior of one dataset or of a list of datasets; see `Guide.infer`.

    Args:
        known: what simulated tasks look like to the guide.
        keep: whether to keep log likelihoods by row, and predictive draws; None by their size.
        climb: the ladder, or None for the guide's own answer.
    """
    single = not isinstance(data, Sequence) or isinstance(data, str | bytes)
    datasets = [read(guide.task, d, columns) for d in ([data] if single else data)]
    if not datasets:
        raise DataError("data: expected at least one dataset, got an empty list")
    notes = guide.notes(datasets)
    psis.import_in_background()
    drawn = draw(guide.method, datasets, draws, seed)
    check = psis.check(np.asarray(drawn.log_joint), np.asarray(drawn.log_guide))
    stats, more = check_answers(guide, known, datasets, drawn, seed)
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
    values = constrain_each(guide.method, drawn.vectors, datasets)
    finite = np.array([all_finite(v[n] for n in guide.task.latents.names) for v in values])
    agrees, passed = judged["log_joint_agrees"], stats.get("reliable")
    judged |= {"finite": finite, "reliable": are_reliable(check, moved, finite, agrees, passed)}
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
