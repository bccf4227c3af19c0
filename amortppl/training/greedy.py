"""Greedy training: a pool of tasks and states at all depths, of which an update takes one step.

    min over phi   E_T E_i   L(step_phi(stop(state_i), B_i)),    state_i+1 = step_phi(state_i, B_i)

A state is data, cut off from the gradient, so that an update costs the same at any depth. Mittal et
al. 2025, "Iterative Amortized Inference", arXiv 2510.11471, Eq. 9; the pool replaces their outer
loop. A task leaves the pool when its rows are used up, so that depths follow the task's sizes.
"""

import warnings
from math import ceil, log
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from amortppl.errors import TrainingError
from amortppl.method import Spec, State, Target, begin, refuse_parts
from amortppl.runtime.flat_weights import flatten
from amortppl.runtime.seeds import seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch, next_rows
from amortppl.training.bounded_loss import softly_bounded
from amortppl.training.first_step import refuse_other_first_step
from amortppl.training.learner import Learner
from amortppl.training.schedule import Schedule
from amortppl.training.simulate import Part, simulate
from amortppl.training.trainer import HELD_OUT, POOL, Trainer

SLICES = 4
"""Parts of the pool, which updates take in turn: neighbouring updates see other tasks."""

JUDGED = 32
"""Mini-batches of held-out tasks that weights are judged on: few would judge first steps alone."""

ATTEMPTS = 2
"""Most attempts at a step: the second is without the tasks that were not finite in the first."""


class TaskPool(NamedTuple):
    """Tasks with their states.

    Attributes:
        states: the state of each task.
        data: all rows of each task; the mask keeps those it has.
        target: what its states are scored on.
        used: rows taken so far.
        usable: whether its values are finite.
    """

    states: State
    data: Batch
    target: Target
    used: Int[Array, "*T"]
    usable: Bool[Array, "*T"]

    @property
    def done(self) -> Bool[Array, "*T"]:
        """Whether all rows were taken."""
        return self.used >= jnp.sum(self.data.mask, -1)


class _Attempt(NamedTuple):
    """A step of a slice of the pool.

    Attributes:
        loss, usable, gradient: of the step.
        pool: after it.
        before: which tasks it counted.
        count: how many attempts were made, this one among them.
    """

    loss: Array
    usable: Array
    gradient: Array
    pool: TaskPool
    before: Bool[Array, "*T"]
    count: Array


def with_stand_ins(pool: TaskPool) -> TaskPool:
    """The pool with copies of usable tasks in the places of those that are not.

    They stay marked as of no use, so that they count for nothing; their numbers are finite.
    """
    others = jnp.argsort(~pool.usable)
    place, count = jnp.arange(len(others)), jnp.maximum(jnp.sum(pool.usable), 1)
    place = jnp.where(pool.usable, place, others[place % count])
    return jax.tree.map(lambda a: a[place], pool)._replace(usable=pool.usable)


def random_sizes(key: PRNGKeyArray, count: int, most: int) -> Int[Array, " T"]:
    """Sizes of mini-batches: half of them `most`, the others log-uniform down to one row."""
    full, level = jr.split(key)
    free = jnp.floor(jnp.exp(jr.uniform(level, (count,)) * log(most + 1)))
    return jnp.where(jr.bernoulli(full, 0.5, (count,)), most, jnp.clip(free, 1, most)).astype(int)


class GreedyTrainer(Trainer):
    """A training run whose updates take one step of each task in a slice of a pool."""

    def __init__(self, task: AbstractTask, spec: Spec, schedule: Schedule, seed: int) -> None:
        most = schedule.mini_batch or 0
        if most < 1:
            raise TrainingError(f"mini_batch: expected at least 1 row, got {schedule.mini_batch}")
        super().__init__(task, spec, schedule, seed)
        if self.mesh is not None:
            raise TrainingError(
                f"mini_batch: a pool of tasks is kept on one device, and there are "
                f"{len(self.devices)}; "
                "hide the others from this process, or train with mini_batches=K in place of "
                "mini_batch"
            )
        if schedule.simulations is not None or schedule.mini_batches != 1 or task.block:
            raise TrainingError(
                "mini_batch: it stands in place of mini_batches and simulations, for rows that can "
                "be cut into "
                f"mini-batches; got mini_batches={schedule.mini_batches}, "
                f"simulations={schedule.simulations}, "
                f"rows={task.rows}"
            )
        method = self.method(self.weights)
        refuse_parts(method)
        refuse_other_first_step(method, task)
        low, high = task.rows
        self.most, self.tasks = min(most, high), sum(p.tasks for p in self.layout)
        self.layout = [Part(self.tasks, high, 0.0, 1.0)]
        self.fresh = [Part(_leaving(low, high, self.most, self.tasks), high, 0.0, 1.0)]
        self._judged = jax.jit(self._held_out)
        self.weights = self._best([flatten(eqx.partition(m, eqx.is_inexact_array)[0])[0]
                                   for m in method.starts])  # fmt: skip

    def start(self) -> Learner:
        """The learner before the first update, with a pool of fresh tasks."""
        keys = split_key(split_key(seed_key(self.seed), 4)[POOL], SLICES)
        make = jax.jit(lambda key: self._new(key, self.layout))
        slices = [make(key) for key in keys]
        return super().start()._replace(carried=jax.tree.map(lambda *a: jnp.stack(a), *slices))

    def chosen(self, learner: Learner) -> Array:
        """The averaged weights, or those of the start where the method is an answer without
        training and these are no better on held-out tasks.
        """
        if not self.method(self.weights).keeps_start:
            return learner.average
        start, end = self._loss_of(self.weights), self._loss_of(learner.average)
        if end < start:
            return learner.average
        warnings.warn(
            f"train: what was learned has a loss of {end:.4g} on held-out tasks, the closed form "
            f"alone {start:.4g}, so it is kept. Where it is exact there is nothing to learn; "
            "elsewhere train for longer, or at a smaller rate",
            stacklevel=4,
        )
        return self.weights

    def _best(self, starts: list[Array]) -> Array:
        """Of some weights, those with the least loss on held-out tasks."""
        return starts[0] if len(starts) == 1 else min(starts, key=self._loss_of)

    def _loss_of(self, weights: Array) -> float:
        key = split_key(split_key(seed_key(self.seed), 4)[HELD_OUT], 2)[1]
        return float(self._judged(weights, key))

    def _held_out(self, weights: Array, key: PRNGKeyArray) -> Array:
        """Loss over the first steps of the same fresh tasks."""
        keys = jr.split(key, JUDGED + 1)
        pool = self._new(keys[0], self.layout)

        def take(pool: TaskPool, key: PRNGKeyArray) -> tuple[TaskPool, Array]:
            loss, (_, after) = self._greedy(weights, pool, key)
            lost = jnp.mean(pool.usable & ~after.usable)
            return after, loss + self.ceiling * lost

        return jnp.mean(jax.lax.scan(take, pool, keys[1:])[1])

    def _new(self, key: PRNGKeyArray, layout: list[Part]) -> TaskPool:
        """Fresh tasks; their states are begun by the first step."""
        simulated = simulate(self.task, key, layout, self.queries)
        method, data = self.method(self.weights), simulated.batches[0]
        states = jax.vmap(lambda query: begin(method, query))(
            simulated.target.query or {"row": data.mask}
        )
        return TaskPool(
            states, data, simulated.target, jnp.zeros(layout[0].tasks, int), simulated.usable
        )

    def _gradient(
        self,
        weights: Array,
        carried: TaskPool,
        key: PRNGKeyArray,
        step: Array,
        held_out: Array,
        pool: Any,
    ) -> tuple[Array, Array, Array, TaskPool]:
        """One step of a slice's tasks: loss, finite share, gradient, and the pool after it."""
        number, keys = step % SLICES, jr.split(key)
        one = jax.tree.map(lambda a: a[number], carried)
        loss, usable, gradient, after = self._kept(weights, one, keys[0])
        after = self._refilled(after, keys[1])
        put = lambda whole, part: whole.at[number].set(part)  # noqa: E731
        return loss, usable, gradient, jax.tree.map(put, carried, after)

    def _kept(
        self, weights: Array, pool: TaskPool, key: PRNGKeyArray
    ) -> tuple[Array, Array, Array, TaskPool]:
        """Loss, finite share, gradient and the pool after a step of a slice.

        A task whose loss is not finite would make the whole gradient so, were it only weighted
        with zero: where that happens the step is taken once more with a stand-in in its place.
        """
        derivative = jax.value_and_grad(self._greedy, has_aux=True)

        def take(now: _Attempt) -> _Attempt:
            given = weights, pool._replace(usable=now.pool.usable), key
            (loss, (usable, after)), gradient = derivative(*given)
            return _Attempt(loss, usable, gradient, after, now.pool.usable, now.count + 1)

        def again(now: _Attempt) -> Array:
            lost = jnp.any(now.before & ~now.pool.usable)
            whole = jnp.isfinite(jnp.linalg.norm(now.gradient))
            return (now.count == 0) | ((now.count < ATTEMPTS) & lost & ~whole)

        like = jax.eval_shape(take, _Attempt((), (), (), pool, (), jnp.zeros((), int)))
        begin = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like)._replace(pool=pool)
        end = jax.lax.while_loop(again, take, begin)
        first = jnp.sum(pool.usable & ~pool.done)
        left = jnp.sum(end.pool.usable & ~pool.done) / jnp.maximum(first, 1)
        return end.loss, left.astype(end.usable.dtype), end.gradient, end.pool

    def _greedy(
        self, weights: Array, pool: TaskPool, key: PRNGKeyArray
    ) -> tuple[Array, tuple[Array, TaskPool]]:
        method, keys = self.method(weights), jr.split(key)
        pool, sizes = with_stand_ins(pool), random_sizes(keys[0], self.tasks, self.most)

        def advance(
            state: State, data: Batch, target: Target, used: Array, size: Array, key: PRNGKeyArray
        ) -> tuple:
            batch = self._next(data, used, size)
            first = begin(method, target.query)
            state = jax.tree.map(
                lambda a, b: jnp.where(used == 0, a, jax.lax.stop_gradient(b)), first, state
            )
            used = used + jnp.sum(batch.mask)
            seen = Batch(data.data, data.mask & (jnp.arange(data.mask.shape[0]) < used))
            told = Target(target.latents, target.query, seen)
            return *method.learn_scored(state, batch, told, key), used

        each = jr.split(keys[1], self.tasks)
        scores, states, used = jax.vmap(advance)(
            pool.states, pool.data, pool.target, pool.used, sizes, each
        )
        asked = pool.usable & ~pool.done
        counted = asked & jnp.isfinite(scores)
        bounded = softly_bounded(jnp.where(counted, scores, 0.0), self.ceiling)
        loss = jnp.sum(bounded) / jnp.maximum(jnp.sum(counted), 1)
        usable = jnp.sum(counted) / jnp.maximum(jnp.sum(asked), 1)
        return loss, (
            usable,
            pool._replace(states=states, used=used, usable=pool.usable & jnp.isfinite(scores)),
        )

    def _next(self, data: Batch, used: Array, size: Array) -> Batch:
        """The next rows of a task; of a series behind those that they look back at."""
        lead = self.task.memory if self.task.ordered else 0
        return next_rows(data, used, size, self.most, lead)

    def _refilled(self, pool: TaskPool, key: PRNGKeyArray) -> TaskPool:
        """With fresh tasks in the place of those done or of no use, once enough of them are."""
        count = self.fresh[0].tasks
        gone = pool.done | ~pool.usable
        place = jnp.argsort(~gone)[:count]

        def fill(pool: TaskPool) -> TaskPool:
            return jax.tree.map(lambda a, b: a.at[place].set(b), pool, self._new(key, self.fresh))

        return jax.lax.cond(jnp.sum(gone) >= count, fill, lambda pool: pool, pool)


def _leaving(low: int, high: int, most: int, tasks: int) -> int:
    """How many tasks use up their rows in an update: 1 / mean lifetime of them."""
    mean_rows = low if low == high else (high + 1 - low) / log((high + 1) / low)
    mean_size = 0.5 * most + 0.5 * (most / log(most + 1))
    return max(1, min(tasks, ceil(tasks / max(1.0, mean_rows / mean_size))))
