"""One training run: a method built for a task, and its updates, compiled."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.method import Method, Spec, random_mini_batches, refuse_parts, split, unroll
from amortppl.runtime import distributed
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import run_once
from amortppl.task.abstract import AbstractTask
from amortppl.training.simulate import SHARES, WHOLE, Episodes, Part, parts, simulate

CHUNK = 25
"""Updates between two looks of the host: one compiled call, with one held-out evaluation."""

TASKS = "tasks"
"""The axis of devices, over which the tasks of an update are split."""

WEIGHTS, FRESH, HELD_OUT, POOL = range(4)
"""Streams of random keys."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        steps: updates; None when `minutes` bound the run.
        minutes: wall-clock minutes, compilation included.
        batch: simulated tasks per update.
        rate: peak learning rate of Adam; it falls to zero by a cosine.
        average: decay of the average of the weights that the guide gets.
        mini_batches: K, the steps unrolled over each task's rows.
        uneven: whether mini-batches are of random sizes, half of the tasks in one, instead of
            equal.
        simulations: a fixed number of simulated tasks to learn from, a tenth of them held out;
            None simulates fresh tasks for each update.
    """

    steps: int | None = 1000
    minutes: float | None = None
    batch: int = 128
    rate: float = 2e-3
    average: float = 0.99
    mini_batches: int = 1
    uneven: bool = False
    simulations: int | None = None


class Learner(NamedTuple):
    """Weights (one flat vector, so that updates are few large operations), optimiser state,
    averaged weights, and the best averaged weights so far with their held-out loss."""

    weights: Float[Array, " W"]
    optimiser: Any
    average: Float[Array, " W"]
    best: Float[Array, " W"]
    best_loss: Array


class Trainer:
    """One training run: a method built for a task, compiled once."""

    def __init__(self, task: AbstractTask, spec: Spec, schedule: Schedule, seed: int) -> None:
        self.task, self.spec, self.schedule, self.seed = task, spec, schedule, seed
        self.devices = jax.devices()
        self.mesh = distributed.mesh(TASKS)
        method = run_once(spec.build, task, jr.split(jr.key(seed), 4)[WEIGHTS])
        if schedule.mini_batches > 1:
            refuse_parts(method)
        learned, self.static = eqx.partition(method, eqx.is_inexact_array)
        self.weights, self.restore = ravel_pytree(learned)
        share = 8 * len(self.devices)
        tasks = -(-schedule.batch // share) * share
        # any task of a pool can be picked for any update, so that a pool is one part
        shares = WHOLE if schedule.simulations or method.max_batch else SHARES
        self.layout = parts(task, tasks, schedule.mini_batches, shares)
        self.queries = method.queries
        self.ceiling = 50.0 + 5.0 * task.latents.size
        self.optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())
        self.pool = self.everywhere(self._simulated()) if schedule.simulations else None
        spread = (
            {}
            if self.mesh is None
            else {"out_shardings": distributed.replicated_sharding(self.mesh)}
        )
        self.advance = jax.jit(self._advance, donate_argnums=0, **spread)

    def start(self) -> Learner:
        """The learner before the first update, on this process's own device."""
        copies = [jnp.array(self.weights) for _ in range(3)]
        return Learner(
            copies[0],
            self.optimiser.init(self.weights),
            copies[1],
            copies[2],
            jnp.asarray(np.inf, jnp.float32),
        )

    def everywhere(self, tree: Any) -> Any:
        """What `advance` takes: arrays that are the same in all processes, on every device of
        them.
        """
        return distributed.replicate(tree, self.mesh)

    def method(self, weights: Float[Array, " W"]) -> Method:
        """The method with these weights."""
        return eqx.combine(self.restore(weights), self.static)

    def _simulated(self) -> tuple[Episodes, Episodes]:
        """A fixed pool of tasks, and the held-out tenth of it."""
        total = self.schedule.simulations or 0
        share = [total - total // 10, total // 10]
        keys = jr.split(jr.split(jr.key(self.seed), 4)[POOL])
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
        """The tasks of an update; where several devices work together, this device's share of
        them.
        """
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

        For a device's share of the tasks, what it adds to the mean over all of them.
        """
        method, steps = self.method(weights), self.schedule.mini_batches
        cut = random_mini_batches if self.schedule.uneven else split
        at_once = method.max_batch or self.schedule.batch
        states = [
            batched_map(lambda b: unroll(method, cut(b, steps)), batch, at_once)
            for batch in episodes.batches
        ]
        states = jax.tree.map(lambda *a: jnp.concatenate(a), *states)
        scores = jax.vmap(jax.vmap(method.score, in_axes=(0, None)))(states, episodes.target)
        counted = episodes.usable[:, None] & jnp.isfinite(scores)
        bounded = jnp.minimum(jnp.where(counted, scores, 0.0), self.ceiling)
        total = jnp.sum(counted) if self.mesh is None else jax.lax.psum(jnp.sum(counted), TASKS)
        return jnp.sum(bounded) / jnp.maximum(total, 1), jnp.mean(counted)

    def _slope(
        self, weights: Array, key: PRNGKeyArray, held_out: Array, pool: Any
    ) -> tuple[Array, Array, Array]:
        """Loss of an update's tasks, the finite share of its scores, and its slope.

        Each device simulates and scores its own share; a count and these sums are all that travels.
        """

        def own(*given: Any) -> tuple[Array, Array, Array, Array]:
            episodes = self._episodes(*given[1:])
            (loss, usable), slope = jax.value_and_grad(self._loss, has_aux=True)(given[0], episodes)
            return loss, usable, slope, episodes.usable

        def together(*given: Any) -> tuple[Array, Array, Array]:
            loss, usable, slope, tasks = own(*given)
            slope = jnp.where(
                jnp.any(tasks), slope, 0.0
            )  # a share without a usable task adds nothing
            return (
                jax.lax.psum(loss, TASKS),
                jax.lax.pmean(usable, TASKS),
                jax.lax.psum(slope, TASKS),
            )

        if self.mesh is None:
            return own(weights, key, held_out, pool)[:3]
        whole = PartitionSpec()
        mapped = jax.shard_map(
            together, mesh=self.mesh, in_specs=whole, out_specs=whole, check_vma=False
        )
        return mapped(weights, key, held_out, pool)

    def keys(self, steps: Array) -> PRNGKeyArray:
        """A key for each update, and the held-out tasks' key after them."""
        streams = jr.split(jr.key(self.seed), 4)
        fresh = jax.vmap(lambda step: jr.fold_in(streams[FRESH], step))(steps)
        return jnp.concatenate([fresh, streams[HELD_OUT : HELD_OUT + 1]])

    def _advance(
        self, learner: Learner, steps: Array, keys: PRNGKeyArray, progress: Array, pool: Any
    ) -> tuple[Learner, dict[str, Array]]:
        """`CHUNK` updates and one evaluation of the averaged weights on the held-out tasks."""

        def update(learner: Learner, at: tuple[Array, ...]) -> tuple[Learner, dict[str, Array]]:
            step, key, fraction, held_out = at
            active = ~held_out & (step < (self.schedule.steps or jnp.inf))
            weights = _choose(held_out, learner.average, learner.weights)
            loss, usable, slope = jax.lax.cond(
                active | held_out,
                self._slope,
                lambda w, *_: (jnp.nan, jnp.nan, w),
                weights,
                key,
                held_out,
                pool,
            )  # a run may end before its last chunk does
            good = jnp.isfinite(loss) & jnp.isfinite(jnp.linalg.norm(slope)) & (usable > 0.0)
            change, optimiser = self.optimiser.update(slope, learner.optimiser)
            rate = (
                self.schedule.rate
                * 0.5
                * (1.0 + jnp.cos(jnp.pi * fraction))
                * jnp.minimum(1.0, (step + 1) / 20)
            )
            moved = learner.weights - rate * change
            decay = jnp.minimum(self.schedule.average, (step + 1) / (step + 10))
            average = decay * learner.average + (1 - decay) * moved
            after = Learner(moved, optimiser, average, learner.best, learner.best_loss)
            better = held_out & good & (loss < learner.best_loss)
            after = _choose(good & active, after, learner)
            best = _choose(better, learner.average, learner.best)
            after = after._replace(best=best, best_loss=jnp.where(better, loss, learner.best_loss))
            return after, {"loss": loss, "usable": usable, "good": good, "active": active}

        held_out = jnp.arange(CHUNK + 1) == CHUNK
        return jax.lax.scan(
            update,
            learner,
            (jnp.append(steps, steps[-1]), keys, jnp.append(progress, progress[-1]), held_out),
        )


def _own_share(layout: list[Part], devices: int) -> Array:
    """Places of this device's tasks among all: an equal share of every part, small tasks and
    large.
    """
    first = np.cumsum([0, *(p.tasks for p in layout)])[:-1]
    device = jax.lax.axis_index(TASKS)
    return jnp.concatenate(
        [a + device + jnp.arange(0, p.tasks, devices) for a, p in zip(first, layout, strict=True)]
    )


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _like(condition: Array, array: Array) -> Array:
    return jnp.reshape(condition, (1,) * array.ndim)
