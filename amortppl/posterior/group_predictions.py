"""Predictions of rows in groups: of groups with data by their own effects, of others by effects
drawn from their population.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.data.dataset import Dataset
from amortppl.posterior.draws import WORK
from amortppl.posterior.local_draws import LocalDraws, draw_sites
from amortppl.posterior.padding import pad
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import Compiled
from amortppl.runtime.seeds import fold_in, seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.grouped_model import Grouped
from amortppl.task.program import log_density, unconstrain


def predict_rows(
    task: AbstractTask,
    vectors: Any,
    seen: tuple[Dataset, LocalDraws] | None,
    new: Dataset,
    seed: int,
) -> dict[str, np.ndarray]:
    """Predictive draws of every observation of new rows, (S, N, ...) by argument.

    Args:
        task: a task of groups.
        vectors: draws of the shared latents, (S, P).
        seen: a dataset and draws of its groups' effects; None without any.
        new: inputs of rows in groups, known and new ones.
        seed: of the draws.
    """
    data, local, is_seen, size = _new_groups(task, seen, new, len(vectors))
    keys = split_key(fold_in(seed_key(seed), 3), len(vectors))
    inputs = {n: data[n] for n in task.inputs}
    drawn = _predict(task, jnp.asarray(vectors), local, is_seen, inputs, keys, size)
    return {n: rows_of_groups(task, n, np.asarray(v), new) for n, v in drawn.items()}


def log_density_of_rows(
    task: AbstractTask,
    vectors: Any,
    seen: tuple[Dataset, LocalDraws] | None,
    new: Dataset,
    seed: int,
) -> np.ndarray:
    """Log density of each new row at each draw, (S, N); arguments as of `predict_rows`."""
    data, local, is_seen, size = _new_groups(task, seen, new, len(vectors))
    keys = split_key(fold_in(seed_key(seed), 3), len(vectors))
    values = np.asarray(_density(task, jnp.asarray(vectors), local, is_seen, data, keys, size))
    assert new.groups is not None  # `read` has put them there
    lines = new.groups.lines()
    return values[:, lines.line, lines.column]


def rows_of_groups(
    task: AbstractTask, name: str, values: np.ndarray, dataset: Dataset, lead: int = 1
) -> np.ndarray:
    """An argument's values by group as the rows of the data have it, behind `lead` axes; of one
    value a group, of the groups.
    """
    assert dataset.groups is not None
    if name in task.groups.arguments.whole:
        return values.take(np.arange(len(dataset.groups.labels)), lead)
    lines = dataset.groups.lines()
    return values[(*[slice(None)] * lead, lines.line, lines.column)]


def user_rows(task: AbstractTask, name: str, dataset: Dataset) -> np.ndarray:
    """An argument as its user has it; of the index of groups, each row's label."""
    groups = dataset.groups
    if groups is None:
        return dataset.arrays[name]
    if name == task.groups.name:
        labels = np.asarray(groups.labels)
        return (labels.astype(str) if labels.dtype.kind == "O" else labels)[groups.group]
    return rows_of_groups(task, name, dataset.arrays[name], dataset, lead=0)


def effects_of(task: AbstractTask, vectors: Any, dataset: Dataset, seed: int) -> LocalDraws | None:
    """Draws of the groups' effects given draws of the shared latents; None where there are none."""
    if not (task.local and task.has_density):
        return None
    return draw_sites(task, jnp.asarray(vectors), dataset, seed)


def _known_effects(
    task: AbstractTask, seen: tuple[Dataset, LocalDraws] | None, new: Dataset, draws: int
) -> tuple[Bool[np.ndarray, " G"], Float[np.ndarray, "S G L"]]:
    """Which of the new groups are known, and their effects; zeros for the others."""
    assert new.groups is not None
    labels = new.groups.labels
    local = np.zeros((draws, len(labels), task.local.size), np.float32)
    if seen is None:
        return np.zeros(len(labels), bool), local
    place = _places(seen[0], labels)
    is_seen = place >= 0
    local[:, is_seen] = seen[1].numbers[:, place[is_seen]]
    return is_seen, local


def _places(seen: Dataset, labels: Sequence[Any]) -> np.ndarray:
    assert seen.groups is not None
    places = {label: i for i, label in enumerate(seen.groups.labels)}
    return np.array([places.get(label, -1) for label in labels])


class _NewGroups(NamedTuple):
    """Rows of G groups, filled up to a shape: by argument, the effects of those seen (S, G, L),
    which these are (G,), and how many draws are taken at once.
    """

    data: dict[str, Array]
    local: np.ndarray
    is_seen: np.ndarray
    size: int


def _new_groups(
    task: AbstractTask, seen: tuple[Dataset, LocalDraws] | None, new: Dataset, draws: int
) -> _NewGroups:
    is_seen, local = _known_effects(task, seen, new, draws)
    batch = pad(task, new)
    more = len(batch.mask) - len(is_seen)
    local, is_seen = np.pad(local, [(0, 0), (0, more), (0, 0)]), np.pad(is_seen, (0, more))
    size = WORK // (len(batch.mask) * task.places(batch.data))
    return _NewGroups(batch.data, local, is_seen, size)


def _effects(
    task: AbstractTask,
    vector: Array,
    local: Float[Array, "G L"],
    is_seen: Bool[Array, " G"],
    inputs: dict[str, Array],
    key: PRNGKeyArray,
) -> dict[str, Array]:
    """Unconstrained effects by site: those given, and for new groups a draw from their prior."""
    given, groups = task.local.unflatten(local), is_seen.shape[0]
    trace = task.program.trace_at(key, task.latents.unflatten(vector), inputs, groups)
    effects = {}
    for name, values in given.items():
        axis = task.local.unconstrained_axes[name]
        shape = [1] * values.ndim
        shape[axis] = groups
        effects[name] = jnp.where(is_seen.reshape(shape), values, unconstrain(trace[name]))
    return effects


@Compiled
def _predict(
    task: AbstractTask,
    vectors: Array,
    local: Array,
    is_seen: Array,
    inputs: dict[str, Array],
    keys: Array,
    size: int,
) -> dict[str, Array]:
    """Observations by argument, (S, G, R, ...)."""

    def one(at: tuple[Array, Array, Array]) -> dict[str, Array]:
        vector, own, key = at
        effects = _effects(task, vector, own, is_seen, inputs, jr.fold_in(key, 0))
        latents = task.latents.unflatten(vector) | effects
        trace = task.program.trace_at(jr.fold_in(key, 1), latents, inputs, is_seen.shape[0])
        return task.density.observations(trace)

    return batched_map(one, (vectors, local, keys), size)


@Compiled
def _density(
    task: AbstractTask,
    vectors: Array,
    local: Array,
    is_seen: Array,
    data: dict[str, Array],
    keys: Array,
    size: int,
) -> Array:
    """Log densities of rows, (S, G, R)."""
    inputs = {n: data[n] for n in task.inputs}

    def one(at: tuple[Array, Array, Array]) -> Array:
        vector, own, key = at
        effects = _effects(task, vector, own, is_seen, inputs, key)
        trace = task.trace_at(vector, data, effects)
        return log_density_by_row(task, trace)

    return batched_map(one, (vectors, local, keys), size)


def log_density_by_row(task: AbstractTask, trace: dict[str, dict]) -> Float[Array, "G R"]:
    """The log density of each row of a run, added up over the sites of rows."""
    sites = [n for n in task.observed.values() if n in task.groups.sites]
    each = [log_density(_where_rows_lie(trace[n])) for n in sites]
    parts = [jnp.sum(d.reshape(*d.shape[:2], -1), -1) for d in each]
    return sum(parts[1:], parts[0])


def _where_rows_lie(site: dict) -> dict:
    """A site of rows whose density is not added up over the lines of its group."""
    own = site["fn"]
    apart = Grouped(own.base_dist, own.counts, None, own.scale)
    return {**site, "fn": apart}
