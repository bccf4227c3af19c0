"""Training on stored simulations: pools that are read from disk in turn, and when to stop.

The loss of all simulations held out for that says which weights are the best so far, and ends the
run once it has not fallen for long (Prechelt 1998, "Early stopping - but when?").
"""

from math import ceil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import TrainingError
from amortppl.method import Spec, Target
from amortppl.runtime.batched_map import batched_map
from amortppl.simulators.stored import LEARN, STOP, Stored
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.simulation_task import SimulationTask
from amortppl.training.learner import Learner
from amortppl.training.record import Record
from amortppl.training.schedule import Schedule
from amortppl.training.simulate import Episodes
from amortppl.training.trainer import CHUNK, POOL, Trainer

POOL_BYTES = 1 << 28
"""Bytes of simulations that are held on the device to pick updates from."""

STOP_BYTES, STOP_MOST = 1 << 26, 4096
"""Simulations to stop by, at most."""

EVERY = 4
"""Chunks of updates between two looks at the simulations to stop by."""

PLATEAU, SLOWER = 5, 3.0
"""Looks without progress after which a run goes back to its best weights, and how much slower."""

WORTH = 0.01
"""The least fall of the loss, in nats, that is progress."""


class Best(NamedTuple):
    """What a run keeps of its looks.

    Attributes:
        weights: those of the least loss.
        loss: that loss, in nats.
        mark: the loss when it had last fallen by `WORTH` since the mark before.
        step: when that was.
    """

    weights: Float[Array, " W"]
    loss: Array
    mark: Array
    step: Array


class StoredTrainer(Trainer):
    """A training run on simulations that are there already."""

    def __init__(self, task: SimulationTask, spec: Spec, schedule: Schedule, seed: int) -> None:
        if schedule.mini_batch is not None:
            raise TrainingError(
                f"mini_batch: greedy training draws tasks anew, and {task.name} has stored "
                "simulations; train with mini_batch=None and mini_batches=K, or 'parametric'"
            )
        self.picked = 0
        super().__init__(task, spec, schedule, seed)
        self.evaluate = jax.jit(self._evaluate)

    def _simulated(self) -> tuple[Episodes, Episodes]:
        """The first pool, and the simulations to stop by."""
        stored, rows = stored_of(self.task), self.layout[0].rows
        self.random = np.random.default_rng([self.seed % 2**64, POOL])
        self.places = stored.places(LEARN)[: self.schedule.simulations]
        self.size = max(256, POOL_BYTES // stored.bytes_each)
        most = max(64, min(STOP_MOST, STOP_BYTES // stored.bytes_each))
        stop = as_episodes(self.task, stored.places(STOP)[:most], rows, self.queries)
        return self._pool(), resized(self.task, jr.key(0), stop)

    def _pool(self) -> Episodes:
        """Simulations to learn from: all, or as many as there is place for."""
        places = self.places
        if len(places) > self.size:
            places = np.sort(self.random.choice(places, self.size, replace=False))
        return as_episodes(self.task, places, self.layout[0].rows, self.queries)

    def _episodes(
        self, key: PRNGKeyArray, held_out: Array, pool: tuple[Episodes, Episodes] | None
    ) -> Episodes:
        """Simulations picked from the pool, each with rows and a size of its own."""
        picked = super()._episodes(key, held_out, pool)
        return resized(self.task, jr.fold_in(key, 1), picked)

    def start(self) -> Learner:
        """The learner before the first update."""
        assert self.pool is not None
        begun = super().start()
        loss = float(self.evaluate(begun.weights, self.pool[1]))
        losses = (jnp.asarray(loss, self.weights.dtype) for _ in range(2))
        best = Best(jnp.array(self.weights), *losses, jnp.array(0))
        return begun._replace(carried=best)

    def chosen(self, learner: Learner) -> Array:
        """The weights of the least loss on the simulations to stop by."""
        return learner.carried.weights

    def watch(self, learner: Learner, record: Record) -> tuple[Learner, bool]:
        """Looks whether the loss still falls, and takes the next pool when this one is used up."""
        self.picked += CHUNK * sum(p.tasks for p in self.layout)
        if len(self.places) > self.size and self.picked >= self.size:
            self.pool, self.picked = self.everywhere((self._pool(), self.pool[1])), 0
        total = self.schedule.steps
        last = total is not None and record.steps >= total
        if record.steps % (EVERY * CHUNK) and not last:
            return learner, False
        loss = self.evaluate(learner.average, self.pool[1])
        record.held_out[-1] = float(loss)
        best: Best = learner.carried
        if float(loss) < float(best.loss):
            best = best._replace(weights=jnp.array(learner.average), loss=loss)
        if float(loss) < float(best.mark) - WORTH:
            best = best._replace(mark=jnp.array(loss), step=jnp.array(record.steps))
        learner, waited = learner._replace(carried=best), record.steps - int(best.step)
        if waited and not waited % (PLATEAU * EVERY * CHUNK):
            again = {"weights": jnp.array(best.weights), "average": jnp.array(best.weights)}
            learner = learner._replace(slower=learner.slower / SLOWER, **again)
        return learner, waited >= self.schedule.patience

    def _evaluate(self, weights: Array, stop: Episodes) -> Array:
        """Mean loss of the simulations to stop by; infinite where any is not finite."""
        tasks = sum(p.tasks for p in self.layout)
        count = stop.usable.shape[0]
        padded = tasks * ceil(count / tasks)
        places = (jnp.arange(padded) % count).reshape(-1, tasks)
        counted = (jnp.arange(padded) < count).reshape(-1, tasks)

        def part(given: tuple[Array, Array]) -> Array:
            place, kept = given
            episodes = jax.tree.map(lambda a: a[place], stop)
            if self.noise is not None:
                episodes = self.noise(jr.fold_in(jr.key(0), place[0]), episodes)
            each = self._scores(weights, episodes)
            return jnp.sum(jnp.where(kept[:, None], jnp.minimum(each, self.ceiling), 0.0))

        total = jnp.sum(jax.lax.map(part, (places, counted)))
        mean = total / (count * self.schedule.mini_batches)
        return jnp.where(jnp.isfinite(mean), mean, jnp.inf).astype(weights.dtype)


def stored_of(task: AbstractTask) -> Stored:
    """The stored simulations of a task that has some."""
    assert task.stored is not None
    return task.stored


def as_episodes(task: SimulationTask, places: np.ndarray, rows: int, queries: int) -> Episodes:
    """Stored simulations as tasks of as many rows as there are, up to `rows` and the queries."""
    latents, data = stored_of(task).take(places)
    targets = {n: jnp.asarray(latents[n]) for n in task.latents.names}
    vectors = jax.jit(lambda v: batched_map(task.vector, v, 4096))(targets)
    finite = jnp.isfinite(vectors).all(1)
    vectors = jnp.where(finite[:, None], vectors, 0.0)
    if task.block:
        batch = Batch({n: jnp.asarray(v)[:, None] for n, v in data.items()}, finite[:, None] | True)
        return Episodes([batch], Target(vectors, {}), finite)
    most = task.rows[1]
    there = next(iter(data.values())).shape[1]
    if there < most + queries:
        raise TrainingError(
            f"{task.name}: this method scores {queries} rows beyond the largest dataset, so its "
            f"simulations should have {most + queries} rows; they have {there}. Give `rows` a "
            "smaller largest number"
        )
    kept = {n: jnp.asarray(_padded(v[:, :most], rows)) for n, v in data.items()}
    query = {n: jnp.asarray(v[:, most : most + queries]) for n, v in data.items()}
    mask = jnp.broadcast_to(jnp.arange(rows) < most, (len(places), rows))
    return Episodes([Batch(kept, mask)], Target(vectors, query if queries else {}), finite)


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    """(T, most, ...) with the last row repeated up to so many rows."""
    more = rows - values.shape[1]
    return np.concatenate([values, np.repeat(values[:, -1:], more, 1)], 1) if more else values


def resized(task: SimulationTask, key: PRNGKeyArray, episodes: Episodes) -> Episodes:
    """With log-uniform numbers of rows: of a series the first ones, else picked from all."""
    if task.block or task.rows[0] == task.rows[1]:
        return episodes
    (low, high), (batch,) = task.rows, episodes.batches
    tasks, rows = batch.mask.shape
    keys = jr.split(key)
    level = jr.uniform(keys[0], (tasks,))
    sizes = jnp.clip(jnp.floor(low * ((high + 1) / low) ** level), low, high)
    order = jnp.argsort(jr.uniform(keys[1], (tasks, rows)) + (jnp.arange(rows) >= high), 1)
    pick = lambda a: a if task.ordered else jax.vmap(lambda v, o: v[o])(a, order)  # noqa: E731
    mask = jnp.arange(rows) < sizes[:, None]
    data = jax.tree.map(pick, batch.data)
    return Episodes([Batch(data, mask)], episodes.target, episodes.usable)
