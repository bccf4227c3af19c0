"""Training for a number of CPU seconds, those of compilation left out."""

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest import mock

from amortppl.method import Method
from amortppl.runtime.program_cache import use_program_cache
from amortppl.training.greedy import GreedyTrainer
from amortppl.training.schedule import Schedule
from amortppl.training.trainer import Trainer

LOOP = import_module("amortppl.training.loop")


class Clock:
    """CPU seconds of this process, without those of calls that are made free."""

    def __init__(self) -> None:
        self.free = 0.0

    def monotonic(self) -> float:
        """CPU seconds so far."""
        return time.process_time() - self.free

    def without(self, call: Callable, *args: Any) -> Any:
        """What a call returns; its CPU seconds are not counted."""
        begun = time.process_time()
        made = call(*args)
        self.free += time.process_time() - begun
        return made


def trained(task: Any, spec: Any, seconds: float, seed: int, **schedule: Any) -> tuple[Method, int]:
    """A method trained for so many CPU seconds after its programs were compiled; its updates."""
    use_program_cache()
    plan = replace(Schedule(**{**spec.schedule(task), **schedule}))
    if plan.steps != 0:
        plan = replace(plan, steps=None, minutes=seconds / 60)
    clock = Clock()
    trainer = (Trainer if plan.mini_batch is None else GreedyTrainer)(task, spec, plan, seed)
    advance, start, programs = trainer.advance, trainer.start, []

    def compiled_first(*args: Any) -> Any:
        if not programs:
            programs.append(clock.without(lambda: advance.lower(*args).compile()))
        return programs[0](*args)

    trainer.advance, trainer.start = compiled_first, lambda: clock.without(start)  # pyright: ignore
    with (
        warnings.catch_warnings(),
        mock.patch.object(LOOP, "time", SimpleNamespace(monotonic=clock.monotonic)),
    ):
        warnings.simplefilter("ignore")
        learner, record = LOOP.run_training(trainer, clock.monotonic(), None, None, False)
        weights = trainer.chosen(learner)
    return trainer.method(weights), record.steps
