"""Training on a pool of simulated tasks with their states, which is renewed slowly.

    min over phi   E_T   L( recall_phi(prepare(D), D), theta )

What a step derives from the rows without a gradient (`Method.prepare`: a hierarchical frame takes
milliseconds) is computed once for each task and kept with it. An update picks tasks at random and
recomputes only what weights have made of their rows (`Method.recall`). After each `CHUNK` of
updates the oldest tasks are replaced by fresh ones, so that a task serves about `Schedule.reuses`
updates.

A task is scored on several draws of its posterior. The latents theta_0 that it was simulated with
are an exact draw. Others come from its readout q and are picked, with theta_0 among them, by

    w_i = p(theta_i, D) / q(theta_i),    theta_1 .. theta_S ~ q

which leaves the posterior as it is, however poor q is: where q misses theta_0, its weight is all.
Their mean has a fraction of one draw's variance. Andrieu, Doucet and Holenstein 2010, "Particle
Markov chain Monte Carlo methods" (a conditional step of importance sampling); Bornschein and Bengio
2015, "Reweighted wake-sleep", arXiv 1406.2751.
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
from amortppl.runtime.timings import timings
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.bounded_loss import softly_bounded
from amortppl.training.learner import Learner
from amortppl.training.prepared_tasks import PreparedTasks
from amortppl.training.schedule import Schedule
from amortppl.training.simulate import WHOLE, parts, simulate
from amortppl.training.trainer import CHUNK, HELD_OUT, POOL, Trainer

SLICE = 64
"""Most tasks that are simulated and prepared in one compiled call; those of an update, if fewer."""

TASKS_PER_CALL = 16
"""Tasks whose frames are searched together on a CPU."""

DRAWS, KEPT = 256, 32
"""Draws of a task's readout, and how many are kept as draws of its posterior."""

DRAWS_OF_INTEGRALS = 32
"""Draws where latents of rows are integrated out: each costs an integral a row, and the few latents
that are left have a readout close to their posterior."""

HELD = 2
"""Slices of held-out tasks."""


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
        updates = min(schedule.pool, schedule.steps or schedule.pool)
        self.draws = DRAWS_OF_INTEGRALS if task.local else DRAWS
        self.size = min(SLICE, tasks)
        self.held = HELD * self.size
        self.slices = max(HELD, -(-updates * tasks // self.size))
        self.renewed = max(1, round(CHUNK * tasks / (schedule.reuses * self.size)))
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
        slices = self._filled([*learn, *held])
        learn, held = (
            jax.tree.map(lambda *a: jnp.stack(a), *part)
            for part in (slices[: self.slices], slices[self.slices :])
        )
        alone = jnp.broadcast_to(held.target.latents[:, :, None], held.draws.shape)
        return super().start()._replace(carried=(learn, held._replace(draws=alone)))

    def _filled(self, keys: list[PRNGKeyArray]) -> list[TaskPool]:
        """A slice for each key; the second, whose program is compiled, tells the seconds of all."""
        slices = []
        for number, key in enumerate(keys):
            with timings() as spent:
                slices.append(jax.block_until_ready(self.fill(self.weights, key)))
            if number == 1:
                self.later = self._renewals() * spent.seconds
                self.foretell(self.later + (len(keys) - 2) * spent.seconds)
        return slices

    def _renewals(self) -> int:
        """Slices that a whole run fills after its start."""
        return self.renewed * (-(-(self.schedule.steps or 0) // CHUNK) - 1)

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

    def chosen(self, learner: Learner) -> Array:
        """The averaged weights of the least loss on held-out tasks, those of no update among them.

        Tasks serve several updates, and are learned by heart in the end.
        """
        return learner.best

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
        """Draws of a task's posterior, each picked from its readout's and the latents it has."""
        copies = jnp.broadcast_to(latents, (KEPT, len(latents)))
        if not self.task.has_density:
            return copies
        readout = method.readout(state)
        vectors, log_q = readout.sample(jr.fold_in(key, 0), self.draws)
        vectors = jnp.concatenate([vectors, latents[None]])
        log_q = jnp.append(log_q, readout.log_prob(latents))
        log_joint = jax.vmap(lambda v: self.task.log_joint(v, batch))(vectors)
        ratio = jnp.where(jnp.isfinite(log_joint), log_joint - log_q, -jnp.inf)
        picked = jr.categorical(jr.fold_in(key, 1), ratio, shape=(KEPT,))
        return jnp.where(jnp.isfinite(ratio[-1]), vectors[picked], copies)

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
        bounded = softly_bounded(jnp.where(counted, score, 0.0), self.ceiling)
        return jnp.sum(bounded) / jnp.maximum(jnp.sum(counted), 1), jnp.mean(counted)


def _score(method: Method, batch: Batch, state: State, target: Target, draws: Array) -> Array:
    """The mean score of draws of the posterior."""
    state = method.recall(state, batch)
    score = lambda v: method.score(state, Target(v, target.query, target.seen))  # noqa: E731
    return jnp.mean(jax.vmap(score)(draws))


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
