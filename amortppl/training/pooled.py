"""Training on a pool of simulated tasks with their states, which is renewed slowly.

    min over phi   E_T   L( recall_phi(prepare(D), D), theta )

What a step derives from the rows without a gradient (`Method.prepare`: a hierarchical frame takes
milliseconds) is computed once for each task and kept with it. An update picks tasks at random and
recomputes only what weights have made of their rows (`Method.recall`). After each `CHUNK` of
updates the oldest tasks are replaced by fresh ones, so that a task serves about `REUSES` updates.

A task is scored on several draws of its posterior: the latents that it was simulated with are one,
others are resampled from its readout by weights p(theta, D) / q(theta), truncated. Their mean has a
fraction of one draw's variance. Bornschein and Bengio 2015, "Reweighted wake-sleep", arXiv
1406.2751; Ionides 2008, "Truncated importance sampling".
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.method import Method, Spec, State, Target
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import run_once
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.prepared_tasks import PreparedTasks
from amortppl.training.schedule import Schedule
from amortppl.training.simulate import WHOLE, parts, simulate
from amortppl.training.trainer import CHUNK, HELD_OUT, POOL, Learner, Trainer

SLICE = 64
"""Most tasks that are simulated and prepared in one compiled call; those of an update, if fewer."""

TASKS_PER_CALL = 16
"""Tasks whose frames are searched together on a CPU."""

DRAWS, KEPT = 256, 16
"""Draws of a task's readout, and how many of them are kept as draws of its posterior."""

DRAWS_OF_INTEGRALS = 32
"""Draws where latents of rows are integrated out: each costs an integral a row, and the few latents
that are left have a readout close to their posterior."""

FEWEST = 16.0
"""Least effective number among `DRAWS`; with fewer the latents simulated with stand for them."""

TRUE = 0.25
"""Share of the loss that is of the latents simulated with, which are an exact draw."""

HELD = 2
"""Slices of held-out tasks."""

REUSES, REUSES_OF_INTEGRALS = 4, 12
"""Updates that a task serves, on average; and where latents of rows are integrated out, so that its
state takes as long as some hundred updates of its score."""

POOL_UPDATES, POOL_UPDATES_OF_INTEGRALS = 32, 16
"""Updates' tasks that the pool holds, likewise."""


class TaskPool(NamedTuple):
    """Tasks with what a step derives from them without a gradient, in K slices.

    Attributes:
        batches: the rows of the tasks of each part (K, T, R, ...), small tasks first.
        states: of each task, (K, T, ...) with T over all parts.
        target: what each is scored on, likewise.
        usable: whether its values are finite.
        draws: of its posterior, unconstrained.
    """

    batches: list[Batch]
    states: State
    target: Target
    usable: Bool[Array, "*T"]
    draws: Float[Array, "*T S P"]


class Picked(NamedTuple):
    """The tasks of an update, of each part their rows; states and targets in the same order."""

    batches: list[Batch]
    states: State
    target: Target
    usable: Bool[Array, " T"]
    draws: Float[Array, "T S P"]


class PooledTrainer(Trainer):
    """A training run on a pool of tasks."""

    def __init__(self, task: AbstractTask, spec: Spec, schedule: Schedule, seed: int) -> None:
        super().__init__(task, spec, schedule, seed)
        tasks = sum(p.tasks for p in self.layout)
        dear = bool(task.local)
        most = POOL_UPDATES_OF_INTEGRALS if dear else POOL_UPDATES
        updates = min(most, schedule.steps or most)
        reuses = REUSES_OF_INTEGRALS if dear else REUSES
        self.draws = DRAWS_OF_INTEGRALS if dear else DRAWS
        self.size = min(SLICE, tasks)
        self.slices = max(HELD, -(-updates * tasks // self.size))
        self.renewed = max(1, round(CHUNK * tasks / (reuses * self.size)))
        shares = WHOLE if len(self.layout) == 1 else [p.tasks / tasks for p in self.layout]
        self.slice = parts(task, self.size, 1, tuple(shares))
        self.compiled = self.advance
        self.fill = jax.jit(self._fill)
        self.put = jax.jit(_put, donate_argnums=0)
        self.advance = self._advance_and_renew

    def start(self) -> Learner:
        """The learner before the first update, with pools of fresh and of held-out tasks."""
        streams = jr.split(seed_key(self.seed), 4)
        learn, held = jr.split(streams[POOL], self.slices), jr.split(streams[HELD_OUT], HELD)
        both = tuple(
            jax.tree.map(lambda *a: jnp.stack(a), *[self.fill(self.weights, key) for key in keys])
            for keys in (learn, held)
        )
        learn, held = both
        alone = jnp.broadcast_to(held.target.latents[:, :, None], held.draws.shape)
        return super().start()._replace(carried=(learn, held._replace(draws=alone)))

    def _advance_and_renew(
        self, learner: Learner, steps: Array, keys: PRNGKeyArray, progress: Array, _: Any
    ) -> tuple[Learner, dict[str, Array]]:
        """`CHUNK` updates, after which as many tasks are replaced as they have used up."""
        learn, held = learner.carried
        weights = learner._replace(carried=())
        weights, report = self.compiled(weights, steps, keys, progress, (learn, held))
        if int(steps[-1]) + 1 >= (self.schedule.steps or jnp.inf):
            return weights._replace(carried=(learn, held)), report
        chunk = int(steps[0]) // CHUNK
        for number in range(chunk * self.renewed, (chunk + 1) * self.renewed):
            key = jr.fold_in(jr.fold_in(jr.split(seed_key(self.seed), 4)[POOL], 1), number)
            fresh = self.fill(weights.average, key)
            learn = self.put(learn, fresh, number % self.slices)
        return weights._replace(carried=(learn, held)), report

    def tasks_of(self, learner: Learner) -> PreparedTasks:
        """The tasks of the pools as they are, the held-out ones first."""
        learn, held = learner.carried
        pools = [self._prepared(pool) for pool in (held, learn)]
        return jax.tree.map(lambda *a: np.concatenate(a), *pools)

    def _prepared(self, pool: TaskPool) -> PreparedTasks:
        batches = run_once(jax.vmap(_joined), pool.batches)
        flat = lambda a: np.asarray(a).reshape(a.shape[0] * a.shape[1], *a.shape[2:])  # noqa: E731
        return jax.tree.map(flat, PreparedTasks(batches, pool.states, pool.usable))

    def _fill(self, weights: Array, key: PRNGKeyArray) -> TaskPool:
        """A slice of fresh tasks and their states."""
        method, made = self.method(weights), simulate(self.task, key, self.slice, self.queries)
        rows, at_once = _joined(made.batches), TASKS_PER_CALL

        def prepare(one: tuple[Batch, Array, PRNGKeyArray]) -> tuple[State, Array]:
            state = method.prepare(one[0])
            return state, self._draws(method, state, *one)

        keys = jr.split(jr.fold_in(key, 1), self.size)
        prepared = batched_map(prepare, (rows, made.target.latents, keys), at_once)
        finite = [
            jnp.all(jnp.isfinite(a).reshape(self.size, -1), -1) for a in jax.tree.leaves(prepared)
        ]
        usable = made.usable & jnp.stack(finite).all(0)
        states, draws = jax.lax.stop_gradient(prepared)
        return TaskPool(made.batches, states, made.target, usable, draws)

    def _draws(
        self, method: Method, state: State, batch: Batch, latents: Array, key: PRNGKeyArray
    ) -> Float[Array, "S P"]:
        """Draws of a task's posterior, resampled from its readout by truncated weights."""
        copies = jnp.broadcast_to(latents, (KEPT, len(latents)))
        if not self.task.has_density:
            return copies
        vectors, log_q = method.readout(state).sample(jr.fold_in(key, 0), self.draws)
        ratio = jax.vmap(lambda v: self.task.log_joint(v, batch))(vectors) - log_q
        ratio = jax.nn.log_softmax(jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf))
        log_weights = jnp.minimum(ratio, -0.5 * jnp.log(self.draws))
        effective = 1.0 / jnp.sum(jax.nn.softmax(log_weights) ** 2)
        chosen = vectors[jr.categorical(jr.fold_in(key, 1), log_weights, shape=(KEPT,))]
        good = (effective >= FEWEST) & jnp.all(jnp.isfinite(chosen))
        return jnp.where(good, chosen, copies)

    def _episodes(self, key: PRNGKeyArray, held_out: Array, pool: Any) -> Picked:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Tasks picked at random, or the first held-out ones."""
        learn, held = pool
        batches, places, start = [], [], 0
        counts = [p.tasks for p in self.slice]
        wanted = [p.tasks for p in self.layout]
        for number, (count, want) in enumerate(zip(counts, wanted, strict=True)):
            at = jr.randint(jr.fold_in(key, number), (want,), 0, self.slices * count)
            fixed = jnp.arange(want) % (HELD * count)
            pick = lambda a, b, at=at, fixed=fixed, count=count: jnp.where(  # noqa: E731
                held_out, b[fixed // count, fixed % count], a[at // count, at % count]
            )
            batches.append(jax.tree.map(pick, learn.batches[number], held.batches[number]))
            places.append((at // count, start + at % count, fixed // count, start + fixed % count))
            start += count
        slices, within, fixed_slices, fixed_within = (
            jnp.concatenate(a) for a in zip(*places, strict=True)
        )
        rest = jax.tree.map(
            lambda a, b: jnp.where(held_out, b[fixed_slices, fixed_within], a[slices, within]),
            tuple(learn[1:]),
            tuple(held[1:]),
        )
        return Picked(batches, *rest)

    def _loss(self, weights: Array, episodes: Any) -> tuple[Array, Array]:
        """Mean score of the tasks' states, each bounded by the ceiling; and the finite share."""
        method, start, scores = self.method(weights), 0, []
        for batch in episodes.batches:
            stop = start + batch.mask.shape[0]
            own = jax.tree.map(
                lambda a, s=slice(start, stop): a[s],
                (episodes.states, episodes.target, episodes.draws),
            )
            scores.append(jax.vmap(partial(_score, method))(batch, *own))
            start = stop
        score = jnp.concatenate(scores)
        counted = episodes.usable & jnp.isfinite(score)
        bounded = jnp.minimum(jnp.where(counted, score, 0.0), self.ceiling)
        return jnp.sum(bounded) / jnp.maximum(jnp.sum(counted), 1), jnp.mean(counted)


def _score(method: Method, batch: Batch, state: State, target: Target, draws: Array) -> Array:
    """The mean score of the latents simulated with and of other draws of the posterior."""
    state = method.recall(state, batch)
    others = jax.vmap(lambda v: method.score(state, Target(v, target.query, target.seen)))(draws)
    return TRUE * method.score(state, target) + (1.0 - TRUE) * jnp.mean(others)


def _put(pool: TaskPool, fresh: TaskPool, place: Array) -> TaskPool:
    return jax.tree.map(lambda a, b: a.at[place].set(b), pool, fresh)


def _joined(batches: list[Batch]) -> Batch:
    """Batches of several parts as one, padded to the rows of the longest."""
    most = max(b.mask.shape[1] for b in batches)

    def pad(a: Array) -> Array:
        more = most - a.shape[1]
        if a.dtype == bool:
            return jnp.pad(a, ((0, 0), (0, more)))
        return jnp.concatenate([a, jnp.repeat(a[:, :1], more, 1)], 1)

    padded = [jax.tree.map(pad, b) for b in batches]
    return jax.tree.map(lambda *a: jnp.concatenate(a), *padded)
