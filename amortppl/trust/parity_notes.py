"""Why the engine's log joint of a dataset is not the plain model's, in words."""

import warnings
from collections.abc import Sequence

import numpy as np

from amortppl.data.dataset import Dataset
from amortppl.errors import UnreliableWarning, quoted
from amortppl.posterior.draws import Drawn
from amortppl.posterior.padding import pad
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.abstract import AbstractTask
from amortppl.task.parity import Point, engine_sites, plain_sites, split_sites
from amortppl.trust.group_parity import judge_groups
from amortppl.trust.native_parity import judge_native
from amortppl.trust.parity import (
    HARMLESS,
    Data,
    allowed,
    compare,
    compared_draws,
    log_likelihoods,
    whole,
    why_not,
    widen,
)

EXPLAINED = 3
"""Datasets of which the cause is looked for, at most: it takes some evaluations more."""

ROUNDING = ": rounding in 32 bits; centre and scale the data, or set jax_enable_x64"


def judge_parity(
    task: AbstractTask, datasets: Sequence[Dataset], drawn: Drawn
) -> tuple[dict[str, np.ndarray], list[list[str]]]:
    """`log_joint_error`, `log_joint_checked` and `log_joint_agrees` for `sample_stats`, and notes
    for each dataset.

    Warns:
        UnreliableWarning: of the first dataset whose log joint is not the model's.
    """
    parity = compare(task, datasets, drawn)
    own = judge_native(task, datasets, drawn, parity)
    own |= judge_groups(task, datasets, drawn, parity)
    notes = [_why_unchecked(task, checked) for checked in parity.checked]
    wrong = np.nonzero(parity.checked & ~parity.agrees)[0]
    for place in wrong:
        off = f"the log joint behind k-hat is {parity.error[place]:.3g} nats off the model's own"
        cause = _cause(task, datasets[place], drawn, place) if place in wrong[:EXPLAINED] else ""
        notes[place] = [own.get(place, f"NOT RELIABLE, {off}{cause}")]
    if len(wrong):
        which = f"{len(wrong)} of {len(datasets)} datasets: " if len(datasets) > 1 else ""
        warnings.warn(which + notes[wrong[0]][0], UnreliableWarning, stacklevel=4)
    stats = {
        "log_joint_error": parity.error,
        "log_joint_checked": parity.checked,
        "log_joint_agrees": parity.agrees,
    }
    return stats, notes


def _why_unchecked(task: AbstractTask, checked: bool) -> list[str]:
    """A note on a log joint that was not compared, where there is one."""
    if checked or not task.has_density:
        return []
    if task.native and task.native.failure:
        return [f"not compared with the model: Pyro cannot run it on these ({task.native.failure})"]
    others = "no draw has a finite log joint, or the integral over " + (
        f"{quoted(task.local.sites)} could not be computed closely" if task.local else "latents"
    )
    return [f"not compared with the model: {why_not(task) or others}"]


def _cause(task: AbstractTask, dataset: Dataset, drawn: Drawn, place: int) -> str:
    """What differs, by evaluations in 64 bits of the engine's program on its padded rows, and of
    the model on numbers 32 bits wide.
    """
    data = widen(task, dataset)
    vector, value, limit = _worst_draw(task, data, drawn, place)
    short = {n: v.astype(data[n].dtype) for n, v in dataset.arrays.items()}
    if not abs(whole(task, vector[None], short).value[0] - value) <= limit:
        return _of_width(dataset, data)
    if task.local or task.judge.tables:
        return _of_marginal(task, dataset, data, vector, limit)
    sites, differ = _by_site(task, dataset, data, vector)
    if not abs(differ.sum()) <= limit:
        worst = sites[int(np.argmax(np.nan_to_num(np.abs(differ), nan=np.inf)))]
        return f": the site {worst!r} {_of_rows(task, vector, data)}"
    return ROUNDING


def _worst_draw(
    task: AbstractTask, data: Data, drawn: Drawn, place: int
) -> tuple[np.ndarray, float, float]:
    """The draw that was compared and is farthest off, the model's log joint of it, and half of what
    that may be off.
    """
    joint = np.asarray(drawn.log_joint[place], np.float64)
    picked = compared_draws(task, joint)
    vectors = np.asarray(drawn.vectors[place])[picked]
    plain = whole(task, vectors, data)
    limits = allowed(plain)
    off = np.nan_to_num(np.abs(joint[picked] - plain.value), nan=np.inf) / limits
    worst = int(np.argmax(off))
    return vectors[worst], float(plain.value[worst]), float(limits[worst]) / 2


def _of_marginal(
    task: AbstractTask, dataset: Dataset, data: Data, vector: np.ndarray, limit: float
) -> str:
    """Of rows with latents of their own: the engine's integrals and sums in 64 bits."""
    batch, rows = pad(task, dataset), 1 if task.block else dataset.lines
    wide = {n: v.astype(data[n].dtype) for n, v in batch.data.items()}
    own = evaluate(task.log_densities, vector.astype(np.float32), wide)[1][:rows]
    off = own - log_likelihoods(task, vector, data)
    if abs(off.sum()) <= limit:
        return task.local.rounding or ROUNDING
    gone = [*task.local.sites] + ([*task.judge.layout.hidden] if task.judge.tables else [])
    worst = int(np.argmax(np.nan_to_num(np.abs(off), nan=np.inf)))
    by_row = not (task.block or task.local.in_turn)
    where = f", most in row {worst} ({off[worst]:.3g})" if by_row else ""
    return (
        f": with {quoted(gone)} taken out, the log likelihood differs from the model's{where}; "
        f"{task.local.inexact or _of_rows(task, vector, data)}"
    )


def _of_width(dataset: Dataset, data: Data) -> str:
    def change(name: str) -> float:
        values = data[name].astype(float)
        spread = np.std(values) + 1e-300
        return float(np.nanmax(np.abs(dataset.arrays[name].astype(float) - values)) / spread)

    worst = max(data, key=change)
    return (
        f": the numbers of {worst!r} need more than the 32 bits that are computed with; centre and "
        "scale them first"
    )


def _by_site(
    task: AbstractTask, dataset: Dataset, data: Data, vector: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Sites, and by how much the engine's program differs from the model on each."""
    batch, rows = pad(task, dataset), dataset.lines
    wide = {n: v.astype(data[n].dtype) for n, v in batch.data.items()}
    point = vector.astype(np.float32)
    ours = evaluate(lambda v, d: engine_sites(task, Point(v, {}, d)), point, wide)
    plain = evaluate(lambda v, d: plain_sites(task, Point(v, {}, d)), point, data)
    prior, own = split_sites(task, plain)
    names = [*prior, *own]
    off = [
        np.sum(ours[n][:rows] if n in own and task.row_free else ours[n]) - np.sum(plain[n])
        for n in names
    ]
    return names, np.array(off, float)


def _of_rows(task: AbstractTask, vector: np.ndarray, data: Data) -> str:
    """Whether the model's own density of the rows is that of their halves together."""
    rows = next(iter(data.values())).shape[0]
    if task.independent and rows > 1 and not task.has_further_lines(data):
        parts = [
            {n: v[at] for n, v in data.items()} for at in (slice(rows // 2), slice(rows // 2, rows))
        ]
        first, second, together = (
            log_likelihoods(task, vector, part).sum() for part in (*parts, data)
        )
        if not abs(first + second - together) <= HARMLESS:
            return (
                "has another density in a part of the rows than in all of them, so the rows are "
                f"not independent given {quoted(task.latents.names)}; say rows=None (one block), "
                "or pass what is computed from all rows as an input"
            )
    if task.judge.size:
        return "the engine's quadrature is not close enough for such rows"
    return "has another density once rows are padded, or in the engine's program"
