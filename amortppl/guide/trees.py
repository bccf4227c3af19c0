"""Draws, predictions and states as an `xarray.DataTree` in ArviZ's schema."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from amortppl.data.dataset import Dataset
from amortppl.data.several_groups import keep_present, plate_labels
from amortppl.guide.tree_layout import (
    Variable,
    assemble,
    attributes,
    by_task,
    by_task_and_rung,
    with_draws,
    without_draws,
)
from amortppl.posterior import predictions
from amortppl.posterior.axis_names import AxisNames
from amortppl.posterior.draws import Drawn, constrain
from amortppl.posterior.group_predictions import predict_rows, user_rows
from amortppl.posterior.local_draws import LocalDraws
from amortppl.training.trained import TrainedMethod
from amortppl.trust.attempt import RUNGS
from amortppl.trust.parity import Parity
from amortppl.trust.psis import Check, MomentShift
from amortppl.trust.verdict import Figures, all_finite, is_reliable

if TYPE_CHECKING:
    from amortppl.posterior.state import State

LEFT_OUT = (
    "log likelihoods or predictive draws left out (draws x rows above the limit, or on request)"
)


def posterior_tree(
    guide: TrainedMethod,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    each: Sequence[Mapping[str, np.ndarray]],
    check: Check,
    notes: Sequence[list[str]],
    keep: Sequence[bool],
    seed: int,
    single: bool,
    stats: Mapping[str, np.ndarray] | None = None,
    effects: Sequence[LocalDraws] = (),
) -> xr.DataTree:
    """Posterior, sample_stats, data, and on demand log likelihood and predictive draws.

    Draws are independent: they lie along `draw` of one `chain`. Several datasets lie along a
    leading `task`; their rows are padded with NaN to the longest.

    Args:
        guide: the guide.
        datasets: T datasets.
        drawn: S draws for each.
        each: the latents of each dataset's draws, by name.
        check: of the draws.
        notes: warnings, by dataset.
        keep: whether to keep log likelihoods, and whether to keep predictive draws.
        seed: of the predictive draws.
        single: whether the only dataset has no axis `task`.
        stats: further statistics by name, (T,) or (T, R).
        effects: of each dataset, where rows lie in groups and theirs were drawn.
    """
    names = AxisNames(guide, datasets[0])
    if guide.task.grouping and not single:  # each dataset has labels of its own
        names.coords.pop(names.row, None)
    if guide.task.several is not None:
        each = [keep_present(guide.task, e, d.places) for e, d in zip(each, datasets, strict=True)]
        names.coords |= plate_labels(guide.task, datasets[0].places) if single else {}
    names.coords["rung"] = list(RUNGS)
    further = {n: by_task_and_rung(v, single) for n, v in (stats or {}).items()}
    groups = {
        "posterior": {n: with_draws([e[n] for e in each], names.of(n), single) for n in each[0]},
        "sample_stats": _sample_stats(datasets, drawn, check, single) | further,
    }
    for name in effects[0].sites if effects else ():
        drawn_of = [e.sites[name] for e in effects]
        groups["posterior"][name] = with_draws(drawn_of, names.of_local(name), single)
    if keep[0]:
        groups["log_likelihood"] = _log_likelihood(guide, datasets, drawn, effects, names, single)
    if keep[1]:
        groups["posterior_predictive"] = _predictive(
            guide, datasets, drawn, names, seed, single, effects
        )
    groups |= _data(guide, datasets, names, single)
    words = [n if single else f"task {i}: {n}" for i, own in enumerate(notes) for n in own]
    words += [] if all(keep) else [LEFT_OUT]
    return assemble(groups, names.coords, attributes(guide, seed, words))


def _sample_stats(
    datasets: Sequence[Dataset], drawn: Drawn, check: Check, single: bool
) -> dict[str, Variable]:
    count = len(datasets)
    return {
        "khat": by_task(check.khat, single),
        "importance_sample_size": by_task(check.sample_size, single),
        "rows": by_task(np.array([d.rows for d in datasets]), single),
        "steps": by_task(np.ones(count, int), single),
        "source": by_task(np.full(count, "amortized"), single),
        "log_weight": with_draws(list(check.log_weights), [], single),
        "log_guide": with_draws(list(np.asarray(drawn.log_guide)), [], single),
        "log_joint": with_draws(list(np.asarray(drawn.log_joint)), [], single),
    }


def _log_likelihood(
    guide: TrainedMethod,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    effects: Sequence[LocalDraws],
    names: AxisNames,
    single: bool,
) -> dict[str, Variable]:
    """Log likelihood by row, under the observation's name when there is one, else `joint`."""
    rows = [e.log_likelihood for e in effects if e.log_likelihood is not None]
    if not rows:
        pairs = zip(drawn.vectors, datasets, strict=True)
        rows = [predictions.pointwise(guide.method, v, d) for v, d in pairs]
    observed = list(guide.task.observed)
    name = observed[0] if len(observed) == 1 else "joint"
    return {name: with_draws(rows, [] if guide.task.block else [names.row], single)}


def _predictive(
    guide: TrainedMethod,
    datasets: Sequence[Dataset],
    drawn: Drawn,
    names: AxisNames,
    seed: int,
    single: bool,
    effects: Sequence[LocalDraws],
) -> dict[str, Variable]:
    """Predictive draws of every observation, with a seed of its own for each dataset.

    Rows in groups are predicted by their groups' own effects.
    """
    pairs = enumerate(zip(drawn.vectors, datasets, strict=True))
    if guide.task.grouping:
        seen = [(d, e) for d, e in zip(datasets, effects, strict=True)] if effects else None
        values = [
            predict_rows(guide.task, v, seen[i] if seen else None, d, seed + i)
            for i, (v, d) in pairs
        ]
    else:
        values = [predictions.predict(guide.method, v, d, seed + i) for i, (v, d) in pairs]
    return {n: with_draws([v[n] for v in values], names.of(n), single) for n in values[0]}


def _data(
    guide: TrainedMethod, datasets: Sequence[Dataset], names: AxisNames, single: bool
) -> dict[str, dict[str, Variable]]:
    """The observations and the inputs."""
    task = guide.task
    groups = {"observed_data": task.observed, "constant_data": task.inputs}
    return {
        group: {
            a: without_draws([user_rows(guide.task, a, d) for d in datasets], names.of(a), single)
            for a in arguments
        }
        for group, arguments in groups.items()
    }


def state_tree(
    guide: TrainedMethod,
    state: "State",
    vectors: np.ndarray,
    log_guide: np.ndarray,
    *,
    check: Check | None = None,
    moved: MomentShift | None = None,
    parity: Parity | None = None,
    trace: Sequence[Mapping[str, Any]] = (),
    notes: list[str],
    seed: int,
) -> xr.DataTree:
    """Posterior and sample_stats of a state, and under `trace` means and sds against rows seen.

    Args:
        guide: the guide.
        state: the state.
        vectors, log_guide: unconstrained draws (S, P) and their log q (S,).
        check: of the draws, where all rows were read once more.
        moved: what weights change of the moments, with `check`.
        trace: rows seen, and means and sds by latent then.
        notes: warnings.
        seed: of the draws.
    """
    blank = Dataset(guide.blank.data, {})
    names = AxisNames(guide, blank)
    values = constrain(guide.method, vectors, blank)
    finite = all_finite(values[n] for n in guide.task.latents.names)
    stats = _state_stats(guide, state, log_guide, check, moved)
    stats |= _state_verdict(finite, check, moved, parity)
    groups = {
        "posterior": {n: with_draws([v], names.of(n), True) for n, v in values.items()},
        "sample_stats": stats,
    }
    if trace:
        names.coords["seen"] = [int(t["rows"]) for t in trace]
        groups["trace"] = {
            f"{n}_{kind}": (["seen", *names.of(n)], np.asarray([t[kind][n] for t in trace]))
            for kind in ("mean", "sd")
            for n in guide.task.latents.names
        }
    return assemble(groups, names.coords, attributes(guide, seed, notes))


def _state_stats(
    guide: TrainedMethod,
    state: "State",
    log_guide: np.ndarray,
    check: Check | None,
    moved: MomentShift | None,
) -> dict[str, Variable]:
    stats = {
        "khat": ([], np.float64(np.nan if check is None else check.khat[0])),
        "rows": ([], np.int64(state.rows)),
        "steps": ([], np.int64(state.steps)),
        "source": ([], np.asarray("amortized")),
        "log_guide": with_draws([log_guide], [], True),
    }
    if check is not None:
        stats["importance_sample_size"] = ([], check.sample_size[0])
        if moved is not None:
            stats |= {"mean_moved": ([], moved.mean[0]), "sd_moved": ([], moved.sd[0])}
        stats["log_weight"] = with_draws([check.log_weights[0]], [], True)
    surprise = float(getattr(guide.method.finalize(state.value), "surprise", np.nan))
    if np.isfinite(surprise):
        stats["surprise"] = ([], np.float64(surprise))
    return stats


def _state_verdict(
    finite: bool, check: Check | None, moved: MomentShift | None, parity: Parity | None
) -> dict[str, Variable]:
    """The figures of the verdict, and the verdict itself."""
    figures, stats = Figures(finite=finite, agrees=False, checked=False), {}
    if check is not None and moved is not None:
        figures = figures._replace(
            khat=check.khat[0],
            mean_moved=moved.mean[0],
            sd_moved=moved.sd[0],
            sample_size=check.sample_size[0],
            draws=check.log_weights.shape[-1],
        )
    if parity is not None:
        stats["log_joint_error"] = ([], parity.error[0])
        agrees, checked = bool(parity.agrees[0]), bool(parity.checked[0])
        figures = figures._replace(agrees=agrees, checked=checked)
    return {
        **stats,
        "finite": ([], np.bool_(figures.finite)),
        "log_joint_agrees": ([], np.bool_(figures.agrees)),
        "log_joint_checked": ([], np.bool_(figures.checked)),
        "reliable": ([], np.bool_(is_reliable(figures))),
    }


def prediction_tree(
    guide: TrainedMethod,
    new: Dataset,
    values: Mapping[str, np.ndarray],
    notes: list[str],
    seed: int,
    start: int | None = None,
) -> xr.DataTree:
    """Predictive draws at new inputs: `predictions` and `predictions_constant_data`; of a series
    after `start` rows, which are numbered from there.
    """
    names = AxisNames(guide, new)
    if start is not None:
        names.coords[names.row] = list(range(start, start + new.rows))
    rows = {a: user_rows(guide.task, a, new) for a in guide.task.inputs}
    inputs = {a: without_draws([v], names.of(a), True) for a, v in rows.items()}
    groups = {
        "predictions": {n: with_draws([v], names.of(n), True) for n, v in values.items()},
        "predictions_constant_data": inputs,
    }
    return assemble(groups, names.coords, attributes(guide, seed, notes))


def local_tree(
    guide: TrainedMethod,
    dataset: Dataset,
    values: Mapping[str, Mapping[str, np.ndarray]],
    coords: Mapping[str, Sequence[Any]],
    seed: int,
) -> xr.DataTree:
    """Local latents by group of the tree and site, draws of them with the leading axes (chain,
    draw), and the rows that they belong to.
    """
    names, groups = AxisNames(guide, dataset), {}
    for group, sites in values.items():
        lead = ["chain", "draw"] if group == "posterior" else []
        groups[group] = {n: ([*lead, *names.of_local(n)], v) for n, v in sites.items()}
    groups |= _data(guide, [dataset], names, True)
    return assemble(groups, {**names.coords, **coords}, attributes(guide, seed, []))


def latent_tree(
    guide: TrainedMethod, z: np.ndarray, notes: list[str], seed: int, single: bool
) -> xr.DataTree:
    """Draws (T, S, Z) of the learned task latent, named `z`.

    There is no joint density to check them against, so k-hat is NaN.
    """
    groups = {
        "posterior": {"z": with_draws(list(z), ["z_dim"], single)},
        "sample_stats": {"khat": by_task(np.full(len(z), np.nan), single)},
    }
    return assemble(groups, {}, attributes(guide, seed, notes))
