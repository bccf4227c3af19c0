"""The outer loop: simulate tasks, unroll the steps, score every readout, update."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl import catalogue
from amortppl.checkpoint import load_run, save_run
from amortppl.errors import TrainingError
from amortppl.method import Method, Spec, unroll
from amortppl.progress import Progress
from amortppl.simulate import SHARES, Episodes, parts, simulate
from amortppl.task import Task

if TYPE_CHECKING:
    from amortppl.guide import Guide

CHUNK = 25
"""Updates between two looks of the host: one compiled call, with one held-out evaluation."""

WHOLE = (1.0,)
"""A pool of tasks is one part, so that any of them can be picked for any update."""

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
        simulations: a fixed number of simulated tasks to learn from, a tenth of them held out;
            None simulates fresh tasks for each update.
    """

    steps: int | None = 1000
    minutes: float | None = None
    batch: int = 128
    rate: float = 2e-3
    average: float = 0.99
    mini_batches: int = 1
    simulations: int | None = None


class Learner(NamedTuple):
    """Weights (one flat vector, so that updates are few large operations), optimiser state,
    averaged weights, and the best averaged weights so far with their held-out loss."""

    weights: Float[Array, " W"]
    optimiser: Any
    average: Float[Array, " W"]
    best: Float[Array, " W"]
    best_loss: Array


@dataclass
class Record:
    """What happened: kept in the guide's certificate."""

    losses: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    steps: int = 0
    unusable: int = 0
    skipped: int = 0
    tasks: int = 0
    seconds: float = 0.0
    device: str = ""


class Trainer:
    """One training run: a method built for a task, compiled once."""

    def __init__(self, task: Task, spec: Spec, schedule: Schedule, seed: int) -> None:
        self.task, self.spec, self.schedule, self.seed = task, spec, schedule, seed
        self.devices = jax.devices()
        method = eqx.filter_jit(spec.build)(task, jr.split(jr.key(seed), 4)[WEIGHTS])
        learned, self.static = eqx.partition(method, eqx.is_inexact_array)
        self.weights, self.restore = ravel_pytree(learned)
        share = 8 * len(self.devices)
        tasks = -(-schedule.batch // share) * share
        self.layout = parts(task, tasks, schedule.mini_batches, WHOLE if schedule.simulations else SHARES)
        self.queries = method.queries
        self.ceiling = 50.0 + 5.0 * task.latents.size
        self.optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())
        self.pool = self._simulated() if schedule.simulations else None
        self.advance = jax.jit(self._advance, donate_argnums=0)

    def start(self) -> Learner:
        """The learner before the first update."""
        copies = [jnp.array(self.weights) for _ in range(3)]
        return Learner(
            copies[0], self.optimiser.init(self.weights), copies[1], copies[2], jnp.asarray(np.inf, jnp.float32)
        )

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

    def _episodes(self, key: PRNGKeyArray, held_out: Array, pool: tuple[Episodes, Episodes] | None) -> Episodes:
        if pool is None:
            return simulate(self.task, key, self.layout, self.queries)
        learn, test = pool
        place = jr.randint(key, (self.layout[0].tasks,), 0, learn.usable.shape[0])
        fixed = jnp.arange(self.layout[0].tasks) % test.usable.shape[0]
        return jax.tree.map(lambda a, b: jnp.where(_like(held_out, a[place]), b[fixed], a[place]), learn, test)

    def _loss(self, weights: Array, episodes: Episodes) -> tuple[Array, Array]:
        """Mean score over tasks and readouts, each bounded by the ceiling; and the finite share."""
        method, steps = self.method(weights), self.schedule.mini_batches
        states = [jax.vmap(lambda b: unroll(method, b, steps))(batch) for batch in episodes.batches]
        states = jax.tree.map(lambda *a: jnp.concatenate(a), *states)
        scores = jax.vmap(jax.vmap(method.score, in_axes=(0, None)))(states, episodes.target)
        counted = episodes.usable[:, None] & jnp.isfinite(scores)
        bounded = jnp.minimum(jnp.where(counted, scores, 0.0), self.ceiling)
        return jnp.sum(bounded) / jnp.maximum(jnp.sum(counted), 1), jnp.mean(counted)

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
            episodes = self._shard(self._episodes(key, held_out, pool))
            weights = _choose(held_out, learner.average, learner.weights)
            (loss, usable), slope = jax.value_and_grad(self._loss, has_aux=True)(weights, episodes)
            good = jnp.isfinite(loss) & jnp.isfinite(jnp.linalg.norm(slope)) & (usable > 0.0)
            change, optimiser = self.optimiser.update(slope, learner.optimiser)
            rate = self.schedule.rate * 0.5 * (1.0 + jnp.cos(jnp.pi * fraction)) * jnp.minimum(1.0, (step + 1) / 20)
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
            update, learner, (jnp.append(steps, steps[-1]), keys, jnp.append(progress, progress[-1]), held_out)
        )

    def _shard(self, episodes: Episodes) -> Episodes:
        """Spreads tasks over the devices, when there are several."""
        if len(self.devices) == 1:
            return episodes
        mesh = Mesh(np.array(self.devices), ("tasks",))
        return jax.lax.with_sharding_constraint(episodes, NamedSharding(mesh, PartitionSpec("tasks")))


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _like(condition: Array, array: Array) -> Array:
    return jnp.reshape(condition, (1,) * array.ndim)


def train(
    task: Task,
    method: str | Spec = "parametric",
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
    **schedule: Any,
) -> "Guide":
    """Trains an amortized guide across tasks simulated from the model.

    Minimises the mean score of the method's readouts; for the parametric regime the forward
    Kullback-Leibler divergence E_{theta, D} [-log q(theta | D)] (Papamakarios and Murray 2016;
    Mittal et al. 2025).

    Args:
        task: the model, its inputs and sizes.
        method: a method's name, a path to a file that defines one, or a configured method.
        steps: updates to make (the method's default when neither this nor `minutes` is given).
        minutes: instead, wall-clock minutes to train for, compilation included. The learning rate
            then follows the clock, so only `steps` makes a run repeatable.
        seed: the same seed on the same machine gives the same weights.
        checkpoint: a file to keep the run in while it goes on.
        resume: a checkpoint to continue from, to the same result as an unbroken run.
        progress: whether to report while training.
        schedule: further fields of `Schedule`.

    Returns:
        A guide bound to the task.

    Raises:
        TrainingError: losses stay non-finite, or the checkpoint is of another run.
        LookupError: no method of that name.
    """
    from amortppl.guide import Guide

    spec = catalogue.method(method) if isinstance(method, str) else method
    given = {"steps": steps, "minutes": minutes, **schedule}
    if steps is not None and minutes is not None:
        raise TrainingError("train: give `steps` or `minutes`, not both")
    plan = Schedule(**{**spec.schedule(task), **{k: v for k, v in given.items() if v is not None}})
    plan = Schedule(**{**asdict(plan), "steps": None}) if minutes is not None else plan
    begin = time.monotonic()
    trainer = Trainer(task, spec, plan, seed)
    learner, record = _run(trainer, begin, checkpoint or resume, resume, progress)
    return Guide(trainer.method(learner.best if plan.simulations else learner.average), spec, record, seed)


def _run(
    trainer: Trainer, begin: float, keep: str | Path | None, resume: str | Path | None, shown: bool
) -> tuple[Learner, Record]:
    record = Record(device=f"{len(trainer.devices)} x {trainer.devices[0].device_kind} ({trainer.devices[0].platform})")
    learner, offset = trainer.start(), 0.0
    if resume is not None:
        learner, saved = load_run(resume, learner, _identity(trainer))
        record = Record(**saved)
        offset = record.seconds
    last_saved, poor = time.monotonic(), 0
    with Progress(trainer.schedule.steps, trainer.schedule.minutes, record.device, shown) as report:
        for steps, fractions in _chunks(trainer.schedule, record.steps, begin - offset):
            learner, seen = trainer.advance(learner, steps, trainer.keys(steps), fractions, trainer.pool)
            poor = poor + 1 if _take(record, seen, trainer) else 0
            record.seconds = time.monotonic() - begin + offset
            report.update(record)
            if poor >= 2:
                raise TrainingError(_complaint(trainer, record))
            if keep is not None and time.monotonic() - last_saved > 20:
                save_run(keep, learner, _identity(trainer), asdict(record))
                last_saved = time.monotonic()
    if keep is not None:
        save_run(keep, learner, _identity(trainer), asdict(record))
    return learner, record


def _chunks(schedule: Schedule, done: int, begin: float) -> Iterator[tuple[Array, Array]]:
    """Step numbers and the fraction of the run at each, a chunk at a time."""
    pace = 0.0
    while True:
        if schedule.minutes is None:
            total = schedule.steps or 0
            if done >= total:
                return
            fractions = (done + np.arange(CHUNK)) / total
        else:
            spent = (time.monotonic() - begin) / (60 * schedule.minutes)
            if spent + pace / 2 >= 1.0:
                return
            fractions = np.minimum(spent + pace * np.arange(CHUNK) / CHUNK, 1.0)
        started = time.monotonic()
        yield jnp.arange(done, done + CHUNK), jnp.asarray(np.minimum(fractions, 1.0), jnp.float32)
        if schedule.minutes is not None and done > 0:
            pace = (time.monotonic() - started) / (60 * schedule.minutes)
        done += CHUNK


def _take(record: Record, seen: dict[str, Array], trainer: Trainer) -> bool:
    """Adds a chunk to the record; True when most of its tasks or updates were lost."""
    loss, usable, good, active = (np.asarray(seen[k], np.float64) for k in ("loss", "usable", "good", "active"))
    made, tasks = active > 0, sum(p.tasks for p in trainer.layout)
    kept = made & (good > 0)
    record.steps += int(made.sum())
    record.tasks += tasks * int(made.sum())
    record.unusable += round(float(np.sum(1.0 - usable[made])) * tasks)
    record.skipped += int(np.sum(made & ~kept))
    record.losses.append(float(np.mean(loss[kept])) if kept.any() else float("nan"))
    record.held_out.append(float(loss[-1]))
    return bool(np.mean(usable[made]) < 0.5 or kept.sum() < 0.5 * made.sum())


def _identity(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint must agree on to be continued."""
    plan = asdict(trainer.schedule)
    return {
        "task": trainer.task.fingerprint,
        "method": [type(trainer.spec).__name__, *map(str, vars(trainer.spec).items())],
        "schedule": {k: plan[k] for k in sorted(plan)},
        "seed": trainer.seed,
    }


def _complaint(trainer: Trainer, record: Record) -> str:
    """Which latent and which simulated values make the losses non-finite."""
    task = trainer.task
    rows = 1 if task.block else task.rows[1]
    draws = jax.jit(jax.vmap(lambda k: task.simulate(k, rows)))(jr.split(jr.key(trainer.seed), 256))
    latents = np.asarray(draws.latents)
    said = [
        f"latent {label} (unconstrained) is {latents[bad, i][0]} in {bad.sum()} of 256 prior draws"
        for i, label in enumerate(task.latents.labels())
        if (bad := ~np.isfinite(latents[:, i])).any()
    ]
    for name, values in draws.data.items():
        bad = ~np.isfinite(np.asarray(values, np.float64)).reshape(256, -1).all(1)
        if bad.any():
            first = {task.latents.labels()[i]: float(latents[bad][0, i]) for i in range(latents.shape[1])}
            said.append(f"simulated {name!r} is not finite in {bad.sum()} of 256 tasks, first with latents {first}")
    if not said:
        said = [
            f"latents span {dict(zip(task.latents.labels(), np.ptp(latents, 0).tolist(), strict=True))}, all finite"
        ]
    return (
        f"training stopped after {record.steps} steps: most losses are not finite ({record.unusable} tasks unusable, "
        f"{record.skipped} updates skipped). "
        + "; ".join(said)
        + ". A narrower prior, or a link that cannot overflow, is the usual cure"
    )
