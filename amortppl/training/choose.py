"""Which kind of training run serves a task, a method and a schedule."""

import jax

from amortppl.method import Spec
from amortppl.task.abstract import AbstractTask
from amortppl.training.greedy import GreedyTrainer
from amortppl.training.pooled import PooledTrainer
from amortppl.training.schedule import Schedule
from amortppl.training.stored import StoredTrainer
from amortppl.training.trainer import Trainer


def trainer_for(task: AbstractTask, spec: Spec, schedule: Schedule, seed: int) -> Trainer:
    """The training run that a task and a schedule ask for."""
    if task.stored is not None:
        return StoredTrainer(task, spec, schedule, seed)
    if schedule.mini_batch is not None:
        return GreedyTrainer(task, spec, schedule, seed)
    whole = schedule.mini_batches == 1 and schedule.simulations is None
    alone = len(jax.devices()) == 1 and jax.process_count() == 1
    kind = PooledTrainer if schedule.pooled and whole and alone else Trainer
    return kind(task, spec, schedule, seed)
