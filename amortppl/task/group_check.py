"""Is the log density of rows in groups that of the user's model of the rows as they came?

The engine runs a model on groups that are filled up to equally many rows. Here the model runs on
the rows alone, in their own order, with the index of each row's group, at given effects of the
groups: nothing is arranged, filled up or integrated.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from amortppl.errors import ModelError
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.parity import TRIES, Point, differ, simulated, split_sites
from amortppl.task.plain import Plain


def plain_rows(
    task: AbstractTask,
    latents: Mapping[str, Array],
    rows: Mapping[str, Array],
    groups: int,
) -> Array:
    """The log density of every row by the user's own model, (N,).

    Args:
        task: a task of groups.
        latents: unconstrained values by site, those of the groups with `groups` entries.
        rows: arguments of N rows (or of the groups, where they have one value a group), among them
            the index of each row's group.
        groups: how many there are.
    """
    sites = _plain_sites(task, groups, latents, rows)
    count = rows[task.groups.arguments.index].shape[0]
    each = [d.reshape(count, -1).sum(1) for n, d in sites.items() if n in task.groups.sites]
    return sum(each, jnp.zeros(count))


def _plain_sites(
    task: AbstractTask, groups: int, latents: Mapping[str, Array], rows: Mapping[str, Array]
) -> dict[str, Array]:
    """Log densities of the user's own model by site, in the shape that NumPyro gives them."""
    names, grouping = task.groups.arguments, task.groups
    numbers: dict[str, Any] = {names.number: groups}
    if names.count:
        numbers[names.count] = rows[names.index].shape[0]
    constants = task.constants | numbers
    plain = Plain(grouping.user_model, constants, None, tuple(task.by_name), False)
    density = plain.density(latents, rows)
    return {n: d + density.jacobians.get(n, 0.0) for n, d in density.sites.items()}


def check_groups(task: AbstractTask) -> None:
    """Compares the engine's density of simulated groups with the user's model of their rows, turned
    round.

    Raises:
        ModelError: they differ.
    """
    for number in range(TRIES):
        key = fold_in(seed_key(29), number)
        point = jax.tree.map(jnp.asarray, evaluate(lambda k: simulated(task, k, 7), key))
        rows, groups = _as_rows(task, point)
        latents = task.latents.unflatten(point.vector) | point.local
        engine = evaluate(lambda p: _engine(task, p), point)
        plain = evaluate(partial(_plain_sites, task, groups), latents, rows)
        if all(np.isfinite(a).all() for a in jax.tree.leaves((engine, plain))):
            _compare(task, engine, plain)
            return


def _as_rows(task: AbstractTask, point: Point) -> tuple[dict[str, Array], int]:
    """The rows that count, the last first, and the number of groups."""
    names = task.groups.arguments
    counts = np.asarray(point.data[names.index]) > 0
    group, place = (a[::-1] for a in np.nonzero(counts))
    rows = {
        n: v if n in names.whole else v[group, place]
        for n, v in point.data.items()
        if n != names.index
    }
    return rows | {names.index: jnp.asarray(group)}, len(counts)


def _engine(task: AbstractTask, point: Point) -> tuple[Array, Array]:
    prior, rows = task.density.joint(point.vector, point.data, point.local, task.local.density_axes)
    return prior, jnp.sum(rows)


def _compare(task: AbstractTask, engine: Any, plain: Mapping[str, np.ndarray]) -> None:
    prior, rows = split_sites(task, dict(plain))
    model, own = (sum(float(np.sum(v)) for v in part.values()) for part in (prior, rows))
    if differ(engine[0], model, prior) or differ(engine[1], own, rows):
        raise ModelError(
            f"{task.name}: the engine's log density of simulated rows in groups is "
            f"{engine[0] + engine[1]:.6g}, that of the model run on the rows alone is "
            f"{model + own:.6g}. Groups are filled up to equally many rows, so each row's density "
            "must depend on its own row and the latents alone: pass what is computed from other "
            "rows (a mean of the group, the row before) as an input of its own"
        )
