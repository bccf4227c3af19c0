"""Batches of simulated tasks, of static shapes."""

from math import ceil
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray

from amortppl.method import Target
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

SHARES = (5 / 8, 3 / 8)
"""Shares of a batch's parts, from small tasks to large.

Each part is padded to its own largest size, so that small tasks, the most under log-uniform sizes,
do not pay for the rows of large ones. More parts would compile for longer than they save.
"""

WHOLE = (1.0,)
"""One part, for programs that run once: a second part would only compile once more."""

TASKS_PER_CALL = 16
"""Tasks whose rows are drawn together on a CPU.

The memory of samplers that reject then stays in its cache (negative binomials 1.3 -> 0.6 s for 1000
tasks of 512 rows).
"""


class Part(NamedTuple):
    """A static shape: `tasks` tasks of at most `rows` rows, sizes at quantiles `low` to `high`."""

    tasks: int
    rows: int
    low: float
    high: float


class Episodes(eqx.Module):
    """Simulated tasks: their rows by part, their targets together, and which are usable.

    A task with a value that is not finite is replaced by a copy of a usable one and not counted.
    """

    batches: list[Batch]
    target: Target
    usable: Bool[Array, " T"]

    def asked(self) -> list[tuple[Batch, dict[str, Array]]]:
        """Rows and queries of each part."""
        ends = np.cumsum([b.mask.shape[0] for b in self.batches])
        spans = [
            slice(end - b.mask.shape[0], end) for b, end in zip(self.batches, ends, strict=True)
        ]
        return [
            (b, {n: v[s] for n, v in self.target.query.items()})
            for b, s in zip(self.batches, spans, strict=True)
        ]


def parts(
    task: AbstractTask, tasks: int, steps: int, shares: tuple[float, ...] = SHARES
) -> list[Part]:
    """The parts of a batch of tasks, rows padded to a multiple of `steps` mini-batches."""
    if task.block:
        return [Part(tasks, 1, 0.0, 1.0)]
    low, high = task.rows
    if low == high:
        return [Part(tasks, steps * ceil(high / steps), 0.0, 1.0)]
    layout, start = [], 0.0
    for share in shares:
        stop = min(start + share, 1.0)
        largest = high if stop == 1.0 else ceil(low * ((high + 1) / low) ** stop)
        layout.append(
            Part(int(tasks * share), steps * ceil(min(largest, high) / steps), start, stop)
        )
        start = stop
    return layout


def simulate(
    task: AbstractTask,
    key: PRNGKeyArray,
    layout: list[Part],
    queries: int,
    own: Array | slice = slice(None),
    shares: int = 1,
) -> Episodes:
    """Simulated tasks; their sizes N are log-uniform on the task's range.

    Sizes are stratified and in rising order.

    Args:
        task: the task to simulate.
        key: of the simulation.
        layout: parts of the batch.
        queries: further rows of each task, for the target.
        own: places of the tasks wanted: an equal share of each part.
        shares: how many such shares there are.
    """
    most = max(p.rows for p in layout)
    total = sum(p.tasks for p in layout)
    keys = jr.split(key, total + 1)
    levels = jr.uniform(keys[-1], (total,))[own]
    ranks = jnp.concatenate([jnp.arange(p.tasks) for p in layout])[own]
    at_once = TASKS_PER_CALL if jax.default_backend() == "cpu" else total
    draws = task.simulate_many(keys[:-1][own], most + queries, at_once)
    batches, start = [], 0
    for part in (p._replace(tasks=p.tasks // shares) for p in layout):
        stop = start + part.tasks
        rows = {n: v[start:stop, : part.rows] for n, v in draws.data.items()}
        sizes = _sizes(task, (ranks[start:stop] + levels[start:stop]) / (part.tasks * shares), part)
        batches.append(Batch(rows, jnp.arange(part.rows) < sizes[:, None]))
        start = stop
    query = {n: v[:, most:] for n, v in draws.data.items()} if queries else {}
    return _usable(Episodes(batches, Target(draws.latents, query), jnp.ones(start, bool)))


def _sizes(task: AbstractTask, levels: Array, part: Part) -> Array:
    """Sizes of a part at levels within it, in rising order: log-uniform over all parts together."""
    if task.block:
        return jnp.ones(part.tasks, int)
    low, high = task.rows
    level = part.low + (part.high - part.low) * levels
    sizes = jnp.floor(low * ((high + 1) / low) ** level)
    return jnp.clip(sizes, low, min(high, part.rows)).astype(int)


def _usable(episodes: Episodes) -> Episodes:
    """Marks tasks with values that are not finite, and replaces them by a usable one."""
    rows = [_finite(b.data) for b in episodes.batches]
    usable = jnp.concatenate(rows) & _finite(episodes.target)
    batches, start = [], 0
    for batch in episodes.batches:
        stop = start + batch.mask.shape[0]
        batches.append(_replace(batch, usable[start:stop]))
        start = stop
    return Episodes(batches, _replace(episodes.target, usable), usable)


def _finite(tree: object) -> Bool[Array, " T"]:
    """Which tasks have finite values alone."""
    leaves = [jnp.isfinite(a).all(tuple(range(1, a.ndim))) for a in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all(0)


def _replace(tree: object, usable: Bool[Array, " T"]) -> object:
    """Tasks, the unusable ones replaced by copies of the first usable one."""
    source = jnp.where(usable, jnp.arange(usable.shape[0]), jnp.argmax(usable))
    return jax.tree.map(lambda a: a[source], tree)
