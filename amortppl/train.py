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
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl import catalogue, processes
from amortppl.checkpoint import load_run, save_run
from amortppl.errors import TrainingError
from amortppl.method import Method, Spec, parted, split, unroll
from amortppl.progress import Training
from amortppl.simulate import SHARES, Episodes, Part, parts, simulate
from amortppl.task import Task
from amortppl.tied import refuse_parts

if TYPE_CHECKING:
    from amortppl.guide import Guide

CHUNK = 25
"""Updates between two looks of the host: one compiled call, with one held-out evaluation."""

WHOLE = (1.0,)
"""A pool of tasks is one part, so that any of them can be picked for any update."""

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
        uneven: whether mini-batches are of random sizes, half of the tasks in one, instead of equal.
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
        self.mesh = processes.mesh(TASKS)
        method = eqx.filter_jit(spec.build)(task, jr.split(jr.key(seed), 4)[WEIGHTS])
        if schedule.mini_batches > 1:
            refuse_parts(method)
        learned, self.static = eqx.partition(method, eqx.is_inexact_array)
        self.weights, self.restore = ravel_pytree(learned)
        share = 8 * len(self.devices)
        tasks = -(-schedule.batch // share) * share
        self.layout = parts(task, tasks, schedule.mini_batches, WHOLE if schedule.simulations else SHARES)
        self.queries = method.queries
        self.ceiling = 50.0 + 5.0 * task.latents.size
        self.optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())
        self.pool = self.everywhere(self._simulated()) if schedule.simulations else None
        spread = {} if self.mesh is None else {"out_shardings": processes.whole(self.mesh)}
        self.advance = jax.jit(self._advance, donate_argnums=0, **spread)

    def start(self) -> Learner:
        """The learner before the first update, on this process's own device."""
        copies = [jnp.array(self.weights) for _ in range(3)]
        return Learner(
            copies[0], self.optimiser.init(self.weights), copies[1], copies[2], jnp.asarray(np.inf, jnp.float32)
        )

    def everywhere(self, tree: Any) -> Any:
        """What `advance` takes: arrays that are the same in all processes, on every device of them."""
        return processes.everywhere(tree, self.mesh)

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
        """The tasks of an update; where several devices work together, this device's share of them."""
        own = slice(None) if self.mesh is None else _own(self.layout, len(self.devices))
        if pool is None:
            return simulate(self.task, key, self.layout, self.queries, own, len(self.devices))
        learn, test = pool
        place = jr.randint(key, (self.layout[0].tasks,), 0, learn.usable.shape[0])[own]
        fixed = (jnp.arange(self.layout[0].tasks) % test.usable.shape[0])[own]
        return jax.tree.map(lambda a, b: jnp.where(_like(held_out, a[place]), b[fixed], a[place]), learn, test)

    def _loss(self, weights: Array, episodes: Episodes) -> tuple[Array, Array]:
        """Mean score over tasks and readouts, each bounded by the ceiling; and the finite share.

        For a device's share of the tasks, what it adds to the mean over all of them.
        """
        method, steps = self.method(weights), self.schedule.mini_batches
        cut = parted if self.schedule.uneven else split
        states = [jax.vmap(lambda b: unroll(method, cut(b, steps)))(batch) for batch in episodes.batches]
        states = jax.tree.map(lambda *a: jnp.concatenate(a), *states)
        scores = jax.vmap(jax.vmap(method.score, in_axes=(0, None)))(states, episodes.target)
        counted = episodes.usable[:, None] & jnp.isfinite(scores)
        bounded = jnp.minimum(jnp.where(counted, scores, 0.0), self.ceiling)
        total = jnp.sum(counted) if self.mesh is None else jax.lax.psum(jnp.sum(counted), TASKS)
        return jnp.sum(bounded) / jnp.maximum(total, 1), jnp.mean(counted)

    def _slope(self, weights: Array, key: PRNGKeyArray, held_out: Array, pool: Any) -> tuple[Array, Array, Array]:
        """Loss of an update's tasks, the finite share of its scores, and its slope.

        Each device simulates and scores its own share; a count and these sums are all that travels.
        """

        def own(*given: Any) -> tuple[Array, Array, Array, Array]:
            episodes = self._episodes(*given[1:])
            (loss, usable), slope = jax.value_and_grad(self._loss, has_aux=True)(given[0], episodes)
            return loss, usable, slope, episodes.usable

        def together(*given: Any) -> tuple[Array, Array, Array]:
            loss, usable, slope, tasks = own(*given)
            slope = jnp.where(jnp.any(tasks), slope, 0.0)  # a share without a usable task adds nothing
            return jax.lax.psum(loss, TASKS), jax.lax.pmean(usable, TASKS), jax.lax.psum(slope, TASKS)

        if self.mesh is None:
            return own(weights, key, held_out, pool)[:3]
        whole = PartitionSpec()
        mapped = jax.shard_map(together, mesh=self.mesh, in_specs=whole, out_specs=whole, check_vma=False)
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
                active | held_out, self._slope, lambda w, *_: (jnp.nan, jnp.nan, w), weights, key, held_out, pool
            )  # a run may end before its last chunk does
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


def _own(layout: list[Part], devices: int) -> Array:
    """Places of this device's tasks among all: an equal share of every part."""
    first = np.cumsum([0, *(p.tasks for p in layout)])[:-1]
    shares = [p.tasks // devices for p in layout]
    device = jax.lax.axis_index(TASKS)
    return jnp.concatenate([a + device * n + jnp.arange(n) for a, n in zip(first, shares, strict=True)])


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
    weights = processes.here(learner.best if plan.simulations else learner.average, trainer.mesh)
    return Guide(trainer.method(weights), spec, record, seed)


def _run(
    trainer: Trainer, begin: float, keep: str | Path | None, resume: str | Path | None, shown: bool
) -> tuple[Learner, Record]:
    _agree(trainer, resume is not None)
    keep, shown = (keep, shown) if processes.leader() else (None, False)
    record = Record(device=_device(trainer))
    learner, offset = processes.broadcast(trainer.start()), 0.0
    if resume is not None:
        learner, saved = _resumed(resume, learner, _identity(trainer))
        record = Record(**saved)
        offset = record.seconds
    learner, last_saved, poor = trainer.everywhere(learner), time.monotonic(), 0
    with Training(trainer.schedule.steps, trainer.schedule.minutes, record.device, shown) as report:
        for steps, fractions in _chunks(trainer.schedule, record.steps, begin - offset):
            given = trainer.everywhere((steps, trainer.keys(steps), fractions))
            learner, seen = trainer.advance(learner, *given, trainer.pool)
            poor = poor + 1 if _take(record, seen, trainer) else 0
            record.seconds = time.monotonic() - begin + offset
            report.look(record)
            if poor >= 2:
                raise TrainingError(_complaint(trainer, record))
            if keep is not None and time.monotonic() - last_saved > 20:
                save_run(keep, learner, _identity(trainer), asdict(record))
                last_saved = time.monotonic()
    if keep is not None:
        save_run(keep, learner, _identity(trainer), asdict(record))
    processes.wait()  # a file that the leader has just written may be read next
    return learner, record


def _resumed(path: str | Path, like: Learner, identity: dict[str, Any]) -> tuple[Learner, dict[str, Any]]:
    """The run in a checkpoint, once every process has read the same one."""
    run = processes.by_all(lambda: load_run(path, like, identity), TrainingError, f"resume: reading {path}")
    if wrong := processes.differing({"record": run[1]}):
        raise TrainingError(
            f"resume: the processes {wrong['record']} read another checkpoint at {path} than process 0 did, perhaps an "
            f"older copy; all must read the same file"
        )
    return processes.broadcast(run[0]), run[1]


def _agree(trainer: Trainer, resume: bool) -> None:
    """Makes sure that all processes were told to train the same."""
    told = {**_identity(trainer), "resume": resume}
    for name, wrong in processes.differing(told).items():
        raise TrainingError(
            f"train: the processes {wrong} were given another {name} than process 0 ({told[name]} here, in process "
            f"{jax.process_index()}); all processes must call train alike"
        )


def _device(trainer: Trainer) -> str:
    kind, processes = trainer.devices[0], jax.process_count()
    where = f" in {processes} processes" if processes > 1 else ""
    return f"{len(trainer.devices)} x {kind.device_kind} ({kind.platform}){where}"


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
            # By the clock of process 0, so that all processes stop at the same update.
            spent, pace = processes.broadcast(((time.monotonic() - begin) / (60 * schedule.minutes), pace))
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
