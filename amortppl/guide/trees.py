"""Draws -> an `xarray.DataTree` in ArviZ's schema, with named dimensions and coordinates."""

import json
import platform
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from amortppl.data.dataset import Dataset
from amortppl.guide.axis_names import AxisNames
from amortppl.posterior import predictions
from amortppl.posterior.draws import Drawn, constrain
from amortppl.training.trained import TrainedMethod
from amortppl.trust.attempt import RUNGS
from amortppl.trust.parity import Parity
from amortppl.trust.psis import Check, MomentShift
from amortppl.trust.verdict import Figures, all_finite, is_reliable

if TYPE_CHECKING:
    from amortppl.posterior.state import State

Variable = tuple[list[str], np.ndarray]


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
) -> xr.DataTree:
    """Assembles posterior, sample_stats, data, and on demand log likelihood and predictive draws.

    Draws are independent: they lie along `draw` of one `chain`. Several datasets lie along a
    leading `task`; their rows are padded with NaN to the longest. `each` holds the latents of each
    dataset's draws by name.
    """
    names = AxisNames(guide, datasets[0])
    lead = (["chain", "draw"], single)
    groups = {"posterior": {n: _draws([e[n] for e in each], names.of(n), *lead) for n in each[0]}}
    groups["sample_stats"] = {
        "khat": _tasks(check.khat, single),
        "importance_sample_size": _tasks(check.sample_size, single),
        "rows": _tasks(np.array([d.rows for d in datasets]), single),
        "steps": _tasks(np.ones(len(datasets), int), single),
        "source": _tasks(np.full(len(datasets), "amortized"), single),
        "log_weight": _draws(list(check.log_weights), [], *lead),
        "log_guide": _draws(list(np.asarray(drawn.log_guide)), [], *lead),
        "log_joint": _draws(list(np.asarray(drawn.log_joint)), [], *lead),
    }
    groups["sample_stats"] |= {n: _stat(v, single) for n, v in (stats or {}).items()}
    names.coords["rung"] = list(RUNGS)
    if keep[0]:
        rows = [
            predictions.pointwise(guide.method, v, d)
            for v, d in zip(drawn.vectors, datasets, strict=True)
        ]
        groups["log_likelihood"] = _log_likelihood(guide, rows, names, single)
    if keep[1]:
        pairs = enumerate(zip(drawn.vectors, datasets, strict=True))
        values = [predictions.predict(guide.method, v, d, seed + i) for i, (v, d) in pairs]
        groups["posterior_predictive"] = {
            n: _draws([v[n] for v in values], names.of(n), *lead) for n in values[0]
        }
    groups["observed_data"] = {
        a: _without_draws([d.arrays[a] for d in datasets], names.of(a), single)
        for a in guide.task.observed
    }
    groups["constant_data"] = {
        a: _without_draws([d.arrays[a] for d in datasets], names.of(a), single)
        for a in guide.task.inputs
    }
    said = [f"task {i}: {n}" if not single else n for i, note in enumerate(notes) for n in note]
    said += (
        []
        if all(keep)
        else [
            "log likelihoods or predictive draws left out (draws x rows above the limit, or on "
            "request)"
        ]
    )
    return _tree(groups, names.coords, _attributes(guide, seed, said))


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
    """Posterior and sample_stats of a state, and under `trace` means and sds against rows seen."""
    blank = Dataset(guide.blank.data, {})
    names, lead = AxisNames(guide, blank), (["chain", "draw"], True)
    stats = {
        "khat": ([], np.float64(np.nan if check is None else check.khat[0])),
        "rows": ([], np.int64(state.rows)),
        "steps": ([], np.int64(state.steps)),
        "source": ([], np.asarray("amortized")),
        "log_guide": _draws([log_guide], [], *lead),
    }
    if check is not None:
        stats["importance_sample_size"] = ([], check.sample_size[0])
        stats |= (
            {}
            if moved is None
            else {"mean_moved": ([], moved.mean[0]), "sd_moved": ([], moved.sd[0])}
        )
        stats["log_weight"] = _draws([check.log_weights[0]], [], *lead)
    if np.isfinite(
        surprise := float(getattr(guide.method.finalize(state.value), "surprise", np.nan))
    ):
        stats["surprise"] = ([], np.float64(surprise))
    values = constrain(guide.method, vectors, blank)
    figures = Figures(finite=all_finite(values[n] for n in guide.task.latents.names))
    if check is not None and moved is not None:
        figures = figures._replace(
            khat=check.khat[0], mean_moved=moved.mean[0], sd_moved=moved.sd[0]
        )
    if parity is not None:
        stats["log_joint_error"] = ([], parity.error[0])
        figures = figures._replace(agrees=bool(parity.agrees[0]))
    stats["finite"], stats["log_joint_agrees"] = ([], figures.finite), ([], figures.agrees)
    stats["reliable"] = ([], np.bool_(is_reliable(figures)))
    groups = {
        "posterior": {n: _draws([v], names.of(n), *lead) for n, v in values.items()},
        "sample_stats": stats,
    }
    if trace:
        names.coords["seen"] = [int(t["rows"]) for t in trace]
        groups["trace"] = {
            f"{n}_{kind}": (["seen", *names.of(n)], np.asarray([t[kind][n] for t in trace]))
            for kind in ("mean", "sd")
            for n in guide.task.latents.names
        }
    return _tree(groups, names.coords, _attributes(guide, seed, notes))


def prediction_tree(
    guide: TrainedMethod,
    new: Dataset,
    values: Mapping[str, np.ndarray],
    notes: list[str],
    seed: int,
) -> xr.DataTree:
    """Predictive draws at new inputs: `predictions` and `predictions_constant_data`."""
    names = AxisNames(guide, new)
    groups = {
        "predictions": {
            n: _draws([v], names.of(n), ["chain", "draw"], True) for n, v in values.items()
        },
        "predictions_constant_data": {
            a: _without_draws([new.arrays[a]], names.of(a), True) for a in guide.task.inputs
        },
    }
    return _tree(groups, names.coords, _attributes(guide, seed, notes))


def local_tree(
    guide: TrainedMethod,
    dataset: Dataset,
    values: Mapping[str, np.ndarray],
    coords: Mapping[str, Sequence[Any]],
    seed: int,
) -> xr.DataTree:
    """Draws of local latents (chain, draw, row, ...) and the rows they belong to."""
    names = AxisNames(guide, dataset)
    groups = {
        "posterior": {n: (["chain", "draw", *names.of_local(n)], v) for n, v in values.items()},
        "observed_data": {
            a: _without_draws([dataset.arrays[a]], names.of(a), True) for a in guide.task.observed
        },
        "constant_data": {
            a: _without_draws([dataset.arrays[a]], names.of(a), True) for a in guide.task.inputs
        },
    }
    return _tree(groups, {**names.coords, **coords}, _attributes(guide, seed, []))


def _tasks(values: np.ndarray, single: bool) -> Variable:
    return ([], values[0]) if single else (["task"], values)


def _stat(values: np.ndarray, single: bool) -> Variable:
    """One value for each task, or one for each rung of the ladder."""
    axes = ["rung"] * (values.ndim - 1)
    return (axes, values[0]) if single else (["task", *axes], values)


def _draws(values: list[np.ndarray], axes: list[str], lead: list[str], single: bool) -> Variable:
    """(S, N, ...) for each task -> (task, chain, draw, N, ...)."""
    if single:
        return [*lead, *axes], _unblock(values[0], axes, 1)[None]
    padded = _pad([_unblock(v, axes, 1) for v in values], 1)
    return ["task", *lead, *axes], padded[:, None]


def _without_draws(values: list[np.ndarray], axes: list[str], single: bool) -> Variable:
    if single:
        return axes, _unblock(values[0], axes, 0)
    return ["task", *axes], _pad([_unblock(v, axes, 0) for v in values], 0)


def _unblock(values: np.ndarray, axes: list[str], lead: int) -> np.ndarray:
    """Drops the axis of one row that the engine gives to a block."""
    return np.squeeze(values, lead) if values.ndim == lead + len(axes) + 1 else values


def _pad(values: list[np.ndarray], axis: int) -> np.ndarray:
    """Stacks arrays whose rows differ in number, NaN (or 0 for whole numbers) behind the
    shorter.
    """
    if len({v.shape for v in values}) == 1:
        return np.stack(values)
    most = max(v.shape[axis] for v in values)
    filler = [
        np.moveaxis(
            np.full((most - v.shape[axis], *np.moveaxis(v, axis, 0).shape[1:]), np.nan), 0, axis
        )
        for v in values
    ]
    return np.stack([np.concatenate([v, f], axis) for v, f in zip(values, filler, strict=True)])


def _log_likelihood(
    guide: TrainedMethod, rows: list[np.ndarray], names: AxisNames, single: bool
) -> dict[str, Variable]:
    """Pointwise log likelihood, under the observation's name when there is one, else `joint`."""
    observed = list(guide.task.observed)
    name = observed[0] if len(observed) == 1 else "joint"
    axes = [] if guide.task.block else [names.row]
    return {name: _draws(rows, axes, ["chain", "draw"], single)}


@cache
def _versions() -> dict[str, str]:
    """Reading the metadata of a package takes 2 ms, as long as predicting for a few rows."""
    return {p: version(p) for p in ("amortppl", "jax", "numpyro", "arviz")} | {
        "python": platform.python_version()
    }


def _attributes(guide: TrainedMethod, seed: int, notes: list[str]) -> dict[str, Any]:
    return {
        "inference_library": "amortppl",
        "inference_library_version": _versions()["amortppl"],
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": guide.task.name,
        "model_source": guide.task.source_code(),
        "task_fingerprint": guide.task.fingerprint,
        "guide_hash": guide.hash,
        "training": json.dumps(guide.training()),
        "seed": seed,
        "warnings": json.dumps(notes),
        "versions": json.dumps(_versions()),
    }


def _tree(
    groups: Mapping[str, dict[str, Variable]],
    coords: Mapping[str, Sequence[Any]],
    about: dict[str, Any],
) -> xr.DataTree:
    brief = {k: about[k] for k in ("inference_library", "inference_library_version", "created_at")}
    sets = {}
    for group, variables in groups.items():
        if not variables:
            continue
        used = {
            axis: size
            for axes, v in variables.values()
            for axis, size in zip(axes, np.shape(v), strict=True)
        }
        labels = {a: list(coords[a]) for a in used if a in coords and len(coords[a]) == used[a]}
        wrong = [a for a in used if a in coords and len(coords[a]) != used[a]]
        if wrong:
            warnings.warn(
                f"coords: {wrong[0]!r} has {len(coords[wrong[0]])} labels for {used[wrong[0]]} "
                f"entries; left out",
                stacklevel=4,
            )
        labels |= {a: np.arange(n) for a, n in used.items() if a not in labels}
        sets[f"/{group}"] = xr.Dataset(
            {n: (axes, v) for n, (axes, v) in variables.items()}, coords=labels, attrs=brief
        )
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=about), **sets})


def latent_tree(
    guide: TrainedMethod, z: np.ndarray, notes: list[str], seed: int, single: bool
) -> xr.DataTree:
    """Draws (T, S, Z) of the learned task latent, named `z`; there is no joint density to check
    them against.
    """
    lead = ["chain", "draw"] if single else ["task", "chain", "draw"]
    values = z[:, None][0] if single else z[:, None]
    groups = {
        "posterior": {"z": ([*lead, "z_dim"], values)},
        "sample_stats": {
            "khat": _tasks(np.full(len(z), np.nan), single),
            "reliable": _tasks(np.zeros(len(z), bool), single),
        },
    }
    return _tree(groups, {}, _attributes(guide, seed, notes))
