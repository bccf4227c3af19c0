"""One training run: a method built for a task, and its updates, compiled."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import TrainingError
from amortppl.method import Method, Spec, refuse_parts, unroll
from amortppl.runtime import distributed
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.flat_weights import flatten
from amortppl.runtime.numpy_evaluation import construct
from amortppl.runtime.seeds import fold_in, join_keys, pick_key, seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import random_mini_batches, split, split_in_order
from amortppl.training.bounded_loss import softly_bounded
from amortppl.training.consistency import Consistency
from amortppl.training.learner import Learner, adam, begin, choose, descend
from amortppl.training.noise import row_noise
from amortppl.training.prepared_tasks import PreparedTasks
from amortppl.training.record import Record
from amortppl.training.schedule import Schedule
from amortppl.training.simulate import SHARES, WHOLE, Episodes, Part, parts, simulate

CHUNK = 25
"""Updates in one compiled call, which ends with one evaluation on held-out tasks."""

TASKS = "tasks"
"""The mesh axis over which the tasks of an update are split."""

WEIGHTS, FRESH, HELD_OUT, POOL = range(4)
"""Streams of random keys: weights, fresh tasks, held-out tasks, the pool."""


class Trainer:
    """One training run: a method built for a task, compiled once.

    `foretell` is told the seconds of tasks simulated before updates, `later` are those after.
    `consistency` is the loss of datasets without latents, where there are any.
    """

    later = 0.0
    consistency: Consistency | None = None

    def __init__(self, task: AbstractTask, spec: Spec, schedule: Schedule, seed: int) -> None:
        self.task, self.spec, self.schedule, self.seed = task, spec, schedule, seed
        self.foretell: Callable[[float], None] = lambda seconds: None
        self.devices, self.mesh = jax.devices(), distributed.mesh(TASKS)
        method = construct(spec.build, task, pick_key(split_key(seed_key(seed), 4), WEIGHTS))
        if task.grouping and method.predicts:
            raise TrainingError(
                f"{type(spec).__name__}: it predicts rows that are exchangeable, and those of "
                f"{task.name} lie in groups of {task.grouping.name!r}; train 'parametric'"
            )
        if schedule.mini_batches > 1:
            refuse_parts(method)
        self.noise = row_noise(task, method, schedule)
        learned, self.static = eqx.partition(method, eqx.is_inexact_array)
        self.weights, self.restore = flatten(learned)
        share = 8 * len(self.devices)
        tasks = -(-schedule.batch // share) * share
        # Any task of a pool can be picked for any update, so that a pool is one part.
        fixed = schedule.simulations or task.stored is not None
        shares = WHOLE if fixed or method.max_batch else SHARES
        self.layout = parts(task, tasks, schedule.mini_batches, shares)
        self.queries = method.queries
        self.ceiling = 50.0 + 5.0 * task.latents.size
        self.optimiser = adam()
        self.pool = self.everywhere(self._simulated()) if fixed else None
        sharding = None if self.mesh is None else distributed.replicated_sharding(self.mesh)
        spread = {"out_shardings": sharding} if sharding else {}
        self.advance = jax.jit(self._advance, donate_argnums=0, **spread)

    def start(self) -> Learner:
        """The learner before the first update, on this process's own device."""
        return begin(self.weights, self.optimiser)

    def chosen(self, learner: Learner) -> Array:
        """The weights that the guide gets."""
        return learner.best if self.schedule.simulations else learner.average

    def tasks_of(self, learner: Learner) -> PreparedTasks | None:
        """The tasks that the run has at hand with their states; None where it keeps none."""
        return None

    def watch(self, learner: Learner, record: Record) -> tuple[Learner, bool]:
        """Looks at the run after a chunk of updates: the learner to go on with, and whether to end
        here.
        """
        return learner, False

    def everywhere(self, tree: Any) -> Any:
        """Arrays that all processes hold alike, on every device, as `advance` takes them."""
        return distributed.replicate(tree, self.mesh)

    def method(self, weights: Float[Array, " W"]) -> Method:
        """The method with these weights."""
        return eqx.combine(self.restore(weights), self.static)

    def _simulated(self) -> tuple[Episodes, Episodes]:
        """A fixed pool of tasks, and the held-out tenth of it."""
        total = self.schedule.simulations or 0
        share = [total - total // 10, total // 10]
        keys = split_key(split_key(seed_key(self.seed), 4)[POOL], 2)
        make = jax.jit(
            lambda key, n: simulate(
                self.task, key, parts(self.task, n, self.schedule.mini_batches, WHOLE), self.queries
            ),
            static_argnums=1,
        )
        return make(keys[0], share[0]), make(keys[1], share[1])

    def _episodes(
        self, key: PRNGKeyArray, held_out: Array, pool: tuple[Episodes, Episodes] | None
    ) -> Episodes:
        """The tasks of an update; with several devices, this device's share of them."""
        own = slice(None) if self.mesh is None else _own_share(self.layout, len(self.devices))
        if pool is None:
            return simulate(self.task, key, self.layout, self.queries, own, len(self.devices))
        learn, test = pool
        place = jnp.sort(jr.randint(key, (self.layout[0].tasks,), 0, learn.usable.shape[0]))[own]
        fixed = (jnp.arange(self.layout[0].tasks) % test.usable.shape[0])[own]
        return jax.tree.map(
            lambda a, b: jnp.where(_like(held_out, a[place]), b[fixed], a[place]), learn, test
        )

    def _loss(self, weights: Array, episodes: Episodes) -> tuple[Array, Array]:
        """Mean score over tasks and readouts, each bounded by the ceiling; and the finite share.

        For a device's share of the tasks, its part of the mean over all of them.
        """
        scores = self._scores(weights, episodes)
        counted = episodes.usable[:, None] & jnp.isfinite(scores)
        bounded = softly_bounded(jnp.where(counted, scores, 0.0), self.ceiling)
        total = jnp.sum(counted) if self.mesh is None else jax.lax.psum(jnp.sum(counted), TASKS)
        return jnp.sum(bounded) / jnp.maximum(total, 1), jnp.mean(counted)

    def _scores(self, weights: Array, episodes: Episodes) -> Float[Array, "T K"]:
        """The loss of each task after each of its mini-batches."""
        method, steps = self.method(weights), self.schedule.mini_batches
        equal = split_in_order if steps > 1 and self.task.ordered else split
        cut = random_mini_batches if self.schedule.uneven else equal
        at_once = method.max_batch or self.schedule.batch
        states = [
            batched_map(lambda a: unroll(method, cut(a[0], steps), a[1]), part, at_once)
            for part in episodes.asked()
        ]
        states = jax.tree.map(lambda *a: jnp.concatenate(a), *states)
        return jax.vmap(jax.vmap(method.score, in_axes=(0, None)))(states, episodes.target)

    def _gradient(
        self,
        weights: Array,
        carried: Any,
        key: PRNGKeyArray,
        step: Array,
        held_out: Array,
        pool: Any,
    ) -> tuple[Array, Array, Array, Any]:
        """Loss of an update's tasks, the finite share of its scores, the gradient, what is carried.

        Each device simulates and scores its own share; a count and these sums are all that travels.
        """

        def own(*given: Any) -> tuple[Array, Array, Array, Array]:
            episodes = self._episodes(*given[1:])
            if self.noise is not None:
                episodes = self.noise(jr.fold_in(given[1], 2), episodes)
            derivative = jax.value_and_grad(self._loss, has_aux=True)
            (loss, usable), gradient = derivative(given[0], episodes)
            if self.consistency is not None:
                terms = self.consistency.terms(self.method, given[0], jr.fold_in(given[1], 3))
                loss, gradient = (a + b for a, b in zip((loss, gradient), terms, strict=True))
            return loss, usable, gradient, episodes.usable

        def together(*given: Any) -> tuple[Array, Array, Array]:
            loss, usable, gradient, tasks = own(*given)
            # A share without a usable task adds nothing.
            gradient = jnp.where(jnp.any(tasks), gradient, 0.0)
            total, mean = (partial(f, axis_name=TASKS) for f in (jax.lax.psum, jax.lax.pmean))
            return total(loss), mean(usable), total(gradient)

        if self.mesh is None:
            return *own(weights, key, held_out, pool)[:3], carried
        whole = PartitionSpec()
        mapped = jax.shard_map(
            together, mesh=self.mesh, in_specs=whole, out_specs=whole, check_vma=False
        )
        return *mapped(weights, key, held_out, pool), carried

    def keys(self, steps: Array) -> PRNGKeyArray:
        """A key for each update, and the held-out tasks' key after them."""
        streams = split_key(seed_key(self.seed), 4)
        fresh = fold_in(pick_key(streams, FRESH), np.asarray(steps))
        return join_keys(fresh, pick_key(streams, slice(HELD_OUT, HELD_OUT + 1)))

    def _advance(
        self, learner: Learner, steps: Array, keys: PRNGKeyArray, progress: Array, pool: Any
    ) -> tuple[Learner, dict[str, Array]]:
        """`CHUNK` updates and one evaluation of the averaged weights on the held-out tasks."""
        last = jnp.append(steps, steps[-1]), keys, jnp.append(progress, progress[-1])
        held_out = jnp.arange(CHUNK + 1) == CHUNK
        update = lambda learner, at: self._update(learner, *at, pool)  # noqa: E731
        return jax.lax.scan(update, learner, (*last, held_out))

    def _update(
        self,
        learner: Learner,
        step: Array,
        key: PRNGKeyArray,
        fraction: Array,
        held_out: Array,
        pool: Any,
    ) -> tuple[Learner, dict[str, Array]]:
        """The learner after one update, or after an evaluation on held-out tasks.

        Nothing is computed beyond the run's last step, where it ends before its last chunk does.
        """
        active = ~held_out & (step < (self.schedule.steps or jnp.inf))
        weights = choose(held_out, learner.average, learner.weights)
        given = weights, learner.carried, key, step, held_out, pool
        update = jax.lax.cond(active | held_out, self._update_terms, _no_terms, *given)
        loss, usable, gradient, carried = update
        good = jnp.isfinite(loss) & jnp.isfinite(jnp.linalg.norm(gradient)) & (usable > 0.0)
        after = descend(learner, gradient, self.optimiser, self.schedule, step, fraction)
        after = choose(good & active, after, learner._replace(carried=()))
        better = held_out & good & (loss < learner.best_loss)
        best = choose(better, learner.average, learner.best)
        best_loss = jnp.where(better, loss, learner.best_loss)
        report = {"loss": loss, "usable": usable, "good": good, "active": active}
        return after._replace(best=best, best_loss=best_loss, carried=carried), report

    def _update_terms(self, weights: Array, *given: Any) -> tuple[Array, Array, Array, Any]:
        """`_gradient` with its numbers of the weights' type, whatever the model's are."""
        loss, usable, gradient, carried = self._gradient(weights, *given)
        kind = weights.dtype
        return loss.astype(kind), usable.astype(kind), gradient.astype(kind), carried


def _own_share(layout: list[Part], devices: int) -> Array:
    """Places of this device's tasks among all: an equal share of every part."""
    first = np.cumsum([0, *(p.tasks for p in layout)])[:-1]
    device = jax.lax.axis_index(TASKS)
    return jnp.concatenate(
        [a + device + jnp.arange(0, p.tasks, devices) for a, p in zip(first, layout, strict=True)]
    )


def _like(condition: Array, array: Array) -> Array:
    """A scalar condition with as many axes as an array."""
    return jnp.reshape(condition, (1,) * array.ndim)


def _no_terms(weights: Array, carried: Any, *_: Any) -> tuple[Array, Array, Array, Any]:
    """In the place of `Trainer._update_terms` where nothing is computed."""
    nothing = jnp.full((), jnp.nan, weights.dtype)
    return nothing, nothing, weights, carried
