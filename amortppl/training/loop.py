"""The outer loop of training: chunks of updates, progress, checkpoints, and when to give up."""

import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from amortppl.errors import SimulationWarning, TrainingError
from amortppl.runtime import distributed
from amortppl.runtime.blas_threads import one_blas_thread
from amortppl.runtime.compilation import run_once
from amortppl.runtime.seeds import seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.check_values import check_digest
from amortppl.task.simulation_task import SimulationTask
from amortppl.training.checkpoint import expect_run, load_run, save_run
from amortppl.training.forecast import forecast
from amortppl.training.learner import Learner
from amortppl.training.progress import Training
from amortppl.training.record import Record
from amortppl.training.schedule import Schedule
from amortppl.training.trainer import CHUNK, Trainer


def run_training(
    trainer: Trainer, begin: float, keep: str | Path | None, resume: str | Path | None, shown: bool
) -> tuple[Learner, Record]:
    """Trains until the schedule ends.

    Args:
        trainer: the run's compiled updates.
        begin: when it began, by `time.monotonic`.
        keep: where to write checkpoints; None for nowhere.
        resume: a checkpoint to continue from.
        shown: whether to report progress.

    Raises:
        TrainingError: `resume` is of another run, processes disagree, or most losses are not
            finite.
    """
    _agree(trainer, resume)
    keep, shown = (keep, shown) if distributed.leader() else (None, False)
    record = Record(device=_device(trainer))
    begun = None if resume is None else _resume(resume, trainer)
    steps, minutes = trainer.schedule.steps, trainer.schedule.minutes
    with one_blas_thread(), Training(steps, minutes, record.device, shown) as report:
        trainer.foretell = report.foretell
        learner, record = begun or (distributed.broadcast(trainer.start()), record)
        learner, last_saved, poor = trainer.everywhere(learner), time.monotonic(), 0
        offset = record.seconds
        if resume is None and (trainer.schedule.steps or 0) > CHUNK:
            learner, seconds = forecast(trainer, learner)
            report.estimate(seconds, trainer.schedule.steps or 0)
        for steps, fractions in _chunks(trainer.schedule, record.steps, begin - offset):
            given = trainer.everywhere((steps, trainer.keys(steps), fractions))
            learner, seen = trainer.advance(learner, *given, trainer.pool)
            poor = poor + 1 if _take(record, seen, trainer) else 0
            record.seconds = time.monotonic() - begin + offset
            report.look(record)
            learner, done = trainer.watch(learner, record)
            if poor >= 2:
                raise TrainingError(_diagnosis(trainer, record))
            if keep is not None and time.monotonic() - last_saved > 20:
                _keep(keep, learner, trainer, record)
                last_saved = time.monotonic()
            if done:
                break
    if keep is not None:
        _keep(keep, learner, trainer, record)
    if trainer.schedule.minutes is not None and record.steps <= CHUNK:
        warnings.warn(
            f"train: only {record.steps} updates were made in {trainer.schedule.minutes} minutes, "
            f"as compiling took the time; give more minutes, or steps=",
            stacklevel=3,
        )
    _tell_unusable(trainer.task, record)
    distributed.wait()  # a file that the leader has just written may be read next
    return learner, record


def _keep(path: str | Path, learner: Learner, trainer: Trainer, record: Record) -> None:
    """Writes the checkpoint. A full disk does not end the run, whose guide is still to come."""
    try:
        save_run(path, learner, _identity(trainer), asdict(record))
    except OSError as error:
        warnings.warn(
            f"checkpoint: {path} cannot be written after {record.steps} updates ({error}); an "
            f"older one there is as it was, and training goes on",
            stacklevel=4,
        )


def _resume(path: str | Path, trainer: Trainer) -> tuple[Learner, Record]:
    """The run in a checkpoint, once every process has read the same one."""
    like = distributed.broadcast(trainer.start())
    run = distributed.run_on_all(
        lambda: load_run(path, like, _identity(trainer)), TrainingError, f"resume: reading {path}"
    )
    if wrong := distributed.mismatches({"record": run[1]}):
        raise TrainingError(
            f"resume: the processes {wrong['record']} read another checkpoint at {path} than "
            "process 0 did, perhaps an older copy; all must read the same file"
        )
    return distributed.broadcast(run[0]), Record(**run[1])


def _agree(trainer: Trainer, resume: str | Path | None) -> None:
    """Raises TrainingError where processes were asked to train different things. A collective.

    Or where the file to go on from is missing, before anything is simulated.
    """
    own = {**_identity(trainer), "resume": resume is not None}
    for name, wrong in distributed.mismatches(own).items():
        raise TrainingError(
            f"train: the processes {wrong} were given another {name} than process 0 ({own[name]} "
            f"here, in process {jax.process_index()}); all processes must call train alike"
        )
    if resume is not None:
        what = f"resume: reading {resume}"
        distributed.run_on_all(lambda: expect_run(resume), TrainingError, what)


def _device(trainer: Trainer) -> str:
    """What it runs on, in words."""
    kind, processes = trainer.devices[0], jax.process_count()
    where = f" in {processes} processes" if processes > 1 else ""
    return f"{len(trainer.devices)} x {kind.device_kind} ({kind.platform}){where}"


def _chunks(schedule: Schedule, done: int, begin: float) -> Iterator[tuple[Array, Array]]:
    """Step numbers and the fraction of the run at each, a chunk at a time; one chunk at least."""
    pace = 0.0
    while True:
        if schedule.minutes is None:
            total = schedule.steps or 0
            if done >= total:
                return
            fractions = (done + np.arange(CHUNK)) / total
        else:
            # By the clock of process 0, so that all processes stop at the same update.
            spent, pace = distributed.broadcast(
                ((time.monotonic() - begin) / (60 * schedule.minutes), pace)
            )
            if done and spent + pace / 2 >= 1.0:
                return
            late = not done and spent >= 1.0  # compiled for longer: one whole run in one chunk
            spent, along = (0.0, 1.0) if late else (spent, pace)
            fractions = np.minimum(spent + along * np.arange(CHUNK) / CHUNK, 1.0)
        started = time.monotonic()
        shares = np.minimum(fractions, 1.0).astype(np.float32)
        yield jax.device_put((np.arange(done, done + CHUNK), shares))
        if schedule.minutes is not None and done > 0:
            pace = (time.monotonic() - started) / (60 * schedule.minutes)
        done += CHUNK


def _take(record: Record, seen: dict[str, Array], trainer: Trainer) -> bool:
    """Adds a chunk to the record; True when most of its tasks or updates were lost."""
    loss, usable, good, active = (
        np.asarray(seen[k], np.float64) for k in ("loss", "usable", "good", "active")
    )
    made, tasks = active > 0, sum(p.tasks for p in trainer.layout)
    kept = made & (good > 0)
    record.steps += int(made.sum())
    record.tasks += tasks * int(made.sum())
    record.unusable += round(float(np.sum(1.0 - usable[made])) * tasks)
    record.skipped += int(np.sum(made & ~kept))
    record.losses.append(float(np.mean(loss[kept])) if kept.any() else float("nan"))
    record.held_out.append(float(loss[-1]))
    return bool(np.mean(usable[made]) < 0.5 or kept.sum() < 0.5 * made.sum())


def _tell_unusable(task: AbstractTask, record: Record) -> None:
    """Warns where a simulator that runs while training failed now and then."""
    if isinstance(task, SimulationTask) and task.stored is None and record.unusable:
        share = record.unusable / max(record.tasks, 1)
        warnings.warn(
            f"{task.name}: {share:.2g} of {record.tasks} simulated datasets are left out, as they "
            "(or their scores) have NaN or infinity. Posteriors are given that there is none",
            SimulationWarning,
            stacklevel=4,
        )


def _identity(trainer: Trainer) -> dict[str, Any]:
    """What two runs must share for one to continue the other."""
    plan, given = asdict(trainer.schedule), trainer.consistency
    more = {} if given is None else {"unlabelled": given.digest}
    return {
        "task": f"{trainer.task.fingerprint}-{check_digest(trainer.task)}",
        "method": [
            type(trainer.spec).__name__,
            trainer.static.revision,
            *map(str, vars(trainer.spec).items()),
        ],
        "schedule": {k: plan[k] for k in sorted(plan)},
        "seed": trainer.seed,
        **more,
    }


def _diagnosis(trainer: Trainer, record: Record) -> str:
    """Which latents and which simulated values make the losses non-finite."""
    task = trainer.task
    rows, keys = 1 if task.block else task.rows[1], split_key(seed_key(trainer.seed), 256)
    draws = run_once(jax.vmap(lambda k: task.simulate(k, rows)), keys)
    latents, labels = np.asarray(draws.latents), task.latents.labels()
    faults = _latent_faults(latents, labels) + _data_faults(draws.data, latents, labels)
    spans = dict(zip(labels, np.ptp(latents, 0).tolist(), strict=True))
    return (
        f"training stopped after {record.steps} steps: most losses are not finite "
        f"({record.unusable} tasks unusable, {record.skipped} updates skipped). "
        + ("; ".join(faults) or f"latents span {spans}, all finite")
        + ". A narrower prior, or a link that cannot overflow, is the usual cure"
    )


def _latent_faults(latents: np.ndarray, labels: list[str]) -> list[str]:
    """Sentences on latents (256, P) with values that are not finite."""
    return [
        f"latent {label} (unconstrained) is {latents[bad, i][0]} in {bad.sum()} of 256 prior draws"
        for i, label in enumerate(labels)
        if (bad := ~np.isfinite(latents[:, i])).any()
    ]


def _data_faults(data: Mapping[str, Any], latents: np.ndarray, labels: list[str]) -> list[str]:
    """Sentences on simulated arguments with values that are not finite."""
    faults = []
    for name, values in data.items():
        bad = ~np.isfinite(np.asarray(values, np.float64)).reshape(256, -1).all(1)
        if bad.any():
            first = {label: float(v) for label, v in zip(labels, latents[bad][0], strict=True)}
            faults.append(
                f"simulated {name!r} is not finite in {bad.sum()} of 256 tasks, first with latents "
                f"{first}"
            )
    return faults
