"""The posterior of datasets in memory, each with its check: the body of `Guide.infer`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from amortppl.data.columns import Columns
from amortppl.data.dataset import Dataset, read
from amortppl.errors import DataError, quoted
from amortppl.guide.programs import compile_together
from amortppl.guide.trees import posterior_tree
from amortppl.posterior.draws import Drawn, draw
from amortppl.posterior.expanded_joint import is_cheaper
from amortppl.posterior.local_draws import LocalDraws, draw_sites, integrates_as_it_draws
from amortppl.runtime.arguments import expect_draws
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.trained import TrainedMethod
from amortppl.trust.attempt import Ladder
from amortppl.trust.examine import examine, join_notes
from amortppl.trust.misspecification import Familiarity

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
    kept = _what_to_keep(guide, datasets, draws, keep)
    said = _said_by_effects(guide.task, datasets, draws)
    compile_together(guide, familiarity, datasets, draws, [kept[0] and not said, kept[1]], not said)
    drawn = draw(guide.method, datasets, draws, seed, joint=not said)
    begun = _draw_effects(guide.task, datasets, drawn, seed) if said else []
    if said:
        drawn = drawn._replace(log_joint=np.stack([e.log_joint() for e in begun]))
    result = examine(guide, datasets, drawn, seed, climb, familiarity)
    notes = join_notes(notes, result.notes)
    effects, more = _effects(guide, datasets, result.drawn, seed, drawn, begun)
    if guide.task.local and guide.task.grouping and not effects:
        kept[1] = False  # rows of known groups are predicted by these
    return posterior_tree(
        guide,
        datasets,
        result.drawn,
        result.values,
        result.check,
        join_notes(notes, more),
        kept,
        seed,
        single,
        result.stats,
        effects,
    )


def _effects(
    guide: TrainedMethod,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    seed: int,
    before: Drawn,
    begun: Sequence[LocalDraws],
) -> tuple[list[LocalDraws], list[list[str]]]:
    """Draws of the effects of every dataset's groups, and notes where they are left out.

    Args:
        before, begun: earlier draws, and the effects that were drawn given these; they serve where
            the ladder has left the draws alone.
    """
    task, notes = guide.task, [[] for _ in datasets]
    if not (task.grouping and task.local and task.has_density):
        return [], notes
    numbers = _numbers_of_effects(task, datasets, np.asarray(drawn.vectors).shape[1])
    if numbers > POINTWISE:
        left_out = f"draws of {quoted(task.local.sites)} left out: {numbers:.2g} numbers"
        return [], [[f"{left_out}; guide.local draws them for some of the groups"]] * len(datasets)
    if begun and np.array_equal(drawn.vectors, before.vectors):
        return list(begun), notes
    return _draw_effects(task, datasets, drawn, seed), notes


def _draw_effects(
    task: AbstractTask, datasets: Sequence[Dataset], drawn: Drawn, seed: int
) -> list[LocalDraws]:
    pairs = enumerate(zip(drawn.vectors, datasets, strict=True))
    return [draw_sites(task, np.asarray(v), d, seed + i) for i, (v, d) in pairs]


def _numbers_of_effects(task: AbstractTask, datasets: Sequence[Dataset], draws: int) -> int:
    return sum(d.rows for d in datasets) * task.local.size * draws


def _said_by_effects(task: AbstractTask, datasets: Sequence[Dataset], draws: int) -> bool:
    """Whether drawing the groups' effects gives the log joint, and the log likelihood of each group
    as well.
    """
    if not (task.grouping and task.has_density and integrates_as_it_draws(task)):
        return False
    batches = [Batch(d.arrays, np.ones(d.lines, bool)) for d in datasets]
    by_part = any(is_cheaper(task, draws, b.mask.size, b) for b in batches)
    return not by_part and _numbers_of_effects(task, datasets, draws) <= POINTWISE


def _what_to_keep(
    guide: TrainedMethod, datasets: Sequence[Dataset], draws: int, keep: Sequence[bool | None]
) -> list[bool]:
    """Whether log likelihoods by row and predictive draws are kept."""
    size = draws * sum(d.arrays[a].size for d in datasets for a in guide.task.observed)
    pointwise, predictive = (size <= POINTWISE if k is None else k for k in keep)
    asked = keep[1] or guide.task.compiled
    return [pointwise and guide.task.has_density, predictive and asked]
