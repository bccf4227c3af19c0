"""The outer loop: updates by the chunk, progress, checkpoints, and an end when losses cannot be used."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl import catalogue, processes
from amortppl.checkpoint import load_run, save_run
from amortppl.errors import TrainingError
from amortppl.method import Spec
from amortppl.once import once
from amortppl.progress import Training
from amortppl.record import Record
from amortppl.task import Task
from amortppl.trainer import CHUNK, Learner, Schedule, Trainer
from amortppl.training.greedy import GreedyTrainer

if TYPE_CHECKING:
    from amortppl.guide import Guide


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
    trainer = (Trainer if plan.mini_batch is None else GreedyTrainer)(task, spec, plan, seed)
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
        "method": [type(trainer.spec).__name__, trainer.static.revision, *map(str, vars(trainer.spec).items())],
        "schedule": {k: plan[k] for k in sorted(plan)},
        "seed": trainer.seed,
    }


def _complaint(trainer: Trainer, record: Record) -> str:
    """Which latent and which simulated values make the losses non-finite."""
    task = trainer.task
    rows = 1 if task.block else task.rows[1]
    draws = once(jax.vmap(lambda k: task.simulate(k, rows)), jr.split(jr.key(trainer.seed), 256))
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
