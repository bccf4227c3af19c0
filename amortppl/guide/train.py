"""Trains a method across the tasks of a model, to a guide."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from amortppl import catalogue
from amortppl.data.dataset import read
from amortppl.errors import TrainingError, nearest
from amortppl.guide.guide import Guide
from amortppl.guide.kept_start import learned_or_start
from amortppl.method import Spec
from amortppl.posterior.padding import stack
from amortppl.runtime import distributed
from amortppl.runtime.arguments import expect_positive, expect_seed, expect_whole
from amortppl.runtime.outputs import expect_kept
from amortppl.runtime.program_cache import use_program_cache
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.choose import trainer_for
from amortppl.training.consistency import Consistency, expect_consistency, tell_silent
from amortppl.training.loop import run_training
from amortppl.training.schedule import Schedule

LONG = 30.0
"""Seconds of training beyond which it ends with what the checks of the first answer need."""


def train(
    task: AbstractTask,
    method: str | Spec = "parametric",
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
    unlabelled: Sequence[Any] | None = None,
    **schedule: Any,
) -> Guide:
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
        unlabelled: datasets as of `guide.infer`, in a list, whose latents nobody knows, such as
            those that the guide is for: beside simulations it learns to agree with the model's
            density on them (`amortppl.training.consistency`), which data that no simulation looks
            like need. For `parametric` and models with a density.
        schedule: further fields of `Schedule`.

    Returns:
        A guide bound to the task.

    Raises:
        TrainingError: losses stay non-finite, the checkpoint is of another run, or `unlabelled`
            datasets are given to what cannot learn from them, or have no finite density.
        DataError: `unlabelled` datasets do not fit the task.
        LookupError: no method of that name.

    Example:
        >>> import amortppl as ap
        >>> task = ap.model("gaussian_mean", rows=(4, 8))
        >>> guide = ap.train(task, steps=2, batch=8, progress=False)  # some thousand in earnest
        >>> guide.record.steps, guide.task is task
        (2, True)
    """
    spec = catalogue.method(method) if isinstance(method, str) else method
    given = {"steps": steps, "minutes": minutes, **schedule}
    if steps is not None and minutes is not None:
        raise TrainingError("train: give `steps` or `minutes`, not both")
    _expect_length(steps, minutes, seed)
    unknown = [n for n in schedule if n not in (options := [f.name for f in fields(Schedule)])]
    if unknown:
        raise TrainingError(f"train: no option {unknown[0]!r}{nearest(unknown[0], options)}")
    plan = Schedule(**{**spec.schedule(task), **{k: v for k, v in given.items() if v is not None}})
    plan = Schedule(**{**asdict(plan), "steps": None}) if minutes is not None else plan
    if spec.schedule(task).get("steps") == 0 and task.latents.size:
        plan = _nothing_to_learn(task, plan, unlabelled is not None)
    expect_whole("train: batch", plan.batch, 1, error=TrainingError)
    expect_whole("train: mini_batches", plan.mini_batches, 1, error=TrainingError)
    expect_positive("train: rate", plan.rate, TrainingError)
    if checkpoint is not None:
        expect_kept(checkpoint, "identity")
    use_program_cache()
    begin = time.monotonic()
    trainer = trainer_for(task, spec, plan, seed)
    if unlabelled is not None:
        expect_consistency(task, trainer.method(trainer.weights), plan)
        trainer.consistency = Consistency(_together(task, unlabelled))
        tell_silent(trainer.consistency, trainer.method(trainer.weights), seed, begun=False)
    learner, record = run_training(trainer, begin, checkpoint or resume, resume, progress)
    weights = distributed.local(trainer.chosen(learner), trainer.mesh)
    tasks = trainer.tasks_of(learner)
    weights = learned_or_start(trainer, weights, tasks)
    if trainer.consistency is not None:
        tell_silent(trainer.consistency, trainer.method(weights), seed, begun=True)
    guide = Guide(trainer.method(weights), spec, record, seed, tasks=tasks)
    if tasks is not None and record.seconds > LONG:
        _ = guide.familiarity  # so that the first answer does not wait for it
    return guide


def _nothing_to_learn(task: AbstractTask, plan: Schedule, unlabelled: bool) -> Schedule:
    """The schedule of no updates, of a method that has no weights.

    Raises:
        TrainingError: `unlabelled` datasets are given.

    Warns:
        UserWarning: updates or minutes are asked for.
    """
    why = f"nothing is learned for {task.name} by this method: each answer follows from its rows"
    if unlabelled:
        raise TrainingError(f"train: unlabelled: {why}; leave it out")
    if plan.steps != 0:
        warnings.warn(f"train: {why}; steps= and minutes= are not used", stacklevel=3)
    return replace(plan, steps=0)


def _together(task: AbstractTask, unlabelled: Any) -> Batch:
    """Datasets as a batch, all padded to as many rows."""
    if isinstance(unlabelled, Mapping | pd.DataFrame | str) or not len(unlabelled):
        raise TrainingError(
            "unlabelled: expected a list of datasets, one or more, got "
            f"{type(unlabelled).__name__}; put a single dataset into a list"
        )
    datasets = [read(task, data) for data in unlabelled]
    return stack(task, datasets, range(len(datasets)))


def _expect_length(steps: int | None, minutes: float | None, seed: int) -> None:
    if steps is not None:
        expect_whole("train: steps", steps, 1, error=TrainingError)
    if minutes is not None:
        expect_positive("train: minutes", minutes, TrainingError)
    expect_seed(seed, TrainingError)
