"""What of a dataset its own posterior would not predict, as numbers of order one.

For a statistic T and draws theta_s with predicted rows y_s (s = 1..S),

    z = (mean_s T(y, theta_s) - m) / sd,    m and sd over T(y_s, theta_s), s = 1..S, and the data's
    own.

Gelman, Meng and Stern 1996, "Posterior predictive assessment of model fitness", Statistica Sinica
6. Such z are not standard normal (the data were used twice); `familiarity` finds their distribution
    by simulation. The data
count as one more prediction because S of them may all be alike, as zeros of a rare event are, where
the data are not: |z| <= sqrt(S) then, the most that S draws can tell.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.group_summary import column_labels, group_columns
from amortppl.task.latents import entries

COLUMNS = 8
"""Columns of an argument that are looked at."""

FIT = (
    "log likelihood of the rows",
    "log likelihood of the worst row",
    "spread of the rows' log likelihoods",
)
RESIDUAL = ("level", "spread", "largest residual", "heaviness of the tails")


ROUNDING = 1e-4
"""Of a statistic, far above what 32 bits round: one that is the same for every dataset would else
differ by rounding alone, in one compiled program from another, and divided by next to nothing."""


class Moments(NamedTuple):
    """Mean and sd of each column of the inputs among simulated rows, (C,)."""

    mean: Array
    sd: Array


def columns(task: AbstractTask, names: list[str]) -> list[str]:
    """Labels of the columns looked at."""
    return [label for n in names for label in _labels(task, n)[:COLUMNS]]


def _labels(task: AbstractTask, name: str) -> list[str]:
    if task.group_layout:
        return column_labels(task.group_layout, task.rows_like, name)
    return entries(name, () if task.block else task.rows_like[name].shape[1:])


def names(task: AbstractTask) -> list[str]:
    """What each discrepancy is about, in words."""
    inputs = [] if task.block else columns(task, task.inputs)
    titles = [*(FIT if task.has_density else ())]
    for label in columns(task, list(task.observed)):
        titles += [f"{label}: {kind}" for kind in RESIDUAL]
        titles += [f"{label}: trend along {other}" for other in inputs]
    return titles + [
        f"{label}: {kind} of the input" for label in inputs for kind in ("mean", "spread")
    ]


def flat(task: AbstractTask, data: dict[str, Array], arguments: list[str]) -> Array:
    """Columns side by side, (N, C); the entries of a block are its rows.

    Args:
        data: arrays of these arguments; of groups, of all.
    """
    data = group_columns(task.group_layout, data) if task.group_layout else data
    parts = [
        data[n].reshape(-1, 1) if task.block else data[n].reshape(len(data[n]), -1)
        for n in arguments
    ]
    parts = [p[:, :COLUMNS].astype(jnp.float32) for p in parts]
    return jnp.concatenate(parts, 1) if parts else jnp.zeros((0, 0))


def discrepancies(
    task: AbstractTask, vectors: Array, batch: Batch, keys: Array, moments: Moments
) -> Array:
    """z for each of `names(task)`, shape (J,); 0 where it has no value.

    None of a simulator in Python, which would run for hours.
    """
    if not task.compiled:
        return jnp.zeros(0)
    predicted = jax.vmap(lambda k, v: _predict(task, k, v, batch))(keys, vectors)
    parts = [_fit(task, vectors, batch, predicted)] if task.has_density else []
    for name in task.observed:
        parts.append(_residuals(task, name, batch, predicted[name]))
    if not task.block and task.inputs:
        parts.append(_inputs(task, batch, moments))
    return jnp.clip(jnp.nan_to_num(jnp.concatenate(parts), nan=0.0), -1e4, 1e4)


def _predict(task: AbstractTask, key: Array, vector: Array, batch: Batch) -> dict[str, Array]:
    inputs = {n: batch.data[n] for n in task.inputs}
    return task.replicate(key, vector, inputs, batch.mask.shape[0])


def _against(data: Array, predicted: Array) -> Array:
    """z of (S, J) or (J,) statistics of the data against (S, J) of predictions."""
    data = jnp.mean(data, 0) if data.ndim == 2 else data
    centre, spread = _pool(data, predicted)
    return (data - centre) / (spread + ROUNDING * jnp.abs(centre))


def _pool(data: Array, predicted: Array) -> tuple[Array, Array]:
    """Mean and sd, (J,), of (S, J) predictions and the data (J,) together."""
    pool = jnp.concatenate([predicted, data[None]])
    return jnp.mean(pool, 0), jnp.std(pool, 0) + 1e-6


def _fit(task: AbstractTask, vectors: Array, batch: Batch, predicted: dict[str, Array]) -> Array:
    def rows(vector: Array, data: dict[str, Array]) -> Array:
        kept, height = batch.mask, task.log_densities(vector, data)[1]
        count = jnp.sum(kept)
        mean = jnp.sum(jnp.where(kept, height, 0.0)) / count
        spread = jnp.sqrt(jnp.sum(jnp.where(kept, (height - mean) ** 2, 0.0)) / count)
        return jnp.stack([mean, jnp.min(jnp.where(kept, height, jnp.inf)), jnp.log(spread + 1e-6)])

    def both(vector: Array, drawn: dict[str, Array]) -> Array:
        pairs = {
            n: jnp.stack([batch.data[n], v.astype(batch.data[n].dtype)]) for n, v in drawn.items()
        }
        return jax.vmap(lambda pair: rows(vector, batch.data | pair))(pairs)

    seen, expected = jnp.moveaxis(jax.vmap(both)(vectors, predicted), 1, 0)
    return _against(seen, expected)


def _residuals(task: AbstractTask, name: str, batch: Batch, predicted: Array) -> Array:
    """Of one observation: moments of its residuals, and their trend along each input."""
    seen = flat(task, batch.data, [name])
    drawn = jax.vmap(lambda y: flat(task, batch.data | {name: y}, [name]))(predicted)
    centre, spread = _pool(seen, drawn)
    keep = (jnp.ones(len(seen), bool) if task.block else batch.mask)[:, None]
    inputs = flat(task, batch.data, [] if task.block else task.inputs)

    def statistics(values: Array) -> Array:
        residual = jnp.where(keep, (values - centre) / spread, 0.0)
        count = jnp.sum(keep)
        square = jnp.sum(residual**2, 0) / count
        largest = jnp.max(jnp.abs(residual), 0)
        fourth = jnp.sum(residual**4, 0) / count
        kinds = [jnp.sum(residual, 0) / count, jnp.log(square + 1e-6), jnp.log(largest + 1e-6)]
        kinds.append(jnp.log(fourth + 1e-6) - 2 * jnp.log(square + 1e-6))
        trends = jnp.zeros((0, values.shape[1]))
        if inputs.size:
            apart = jnp.where(keep, inputs - jnp.sum(jnp.where(keep, inputs, 0.0), 0) / count, 0.0)
            trends = apart.T @ residual / jnp.sqrt(jnp.sum(apart**2, 0)[:, None] + 1e-6)
        return jnp.concatenate([jnp.stack(kinds), trends]).T.ravel()

    measured = jax.vmap(statistics)(jnp.concatenate([seen[None], drawn]))
    return _against(measured[0], measured[1:])


def _inputs(task: AbstractTask, batch: Batch, moments: Moments) -> Array:
    """How far mean and spread of each input lie from those of simulated rows, in standard
    errors.
    """
    values = (flat(task, batch.data, list(task.inputs)) - moments.mean) / moments.sd
    kept, count = batch.mask[:, None], jnp.sum(batch.mask)
    mean = jnp.sum(jnp.where(kept, values, 0.0), 0) / count
    square = jnp.sum(jnp.where(kept, (values - mean) ** 2, 0.0), 0) / count
    level = jnp.sqrt(count / 2) * 0.5 * jnp.log(square + 1e-3)
    return jnp.stack([jnp.sqrt(count) * mean, level]).T.ravel()
