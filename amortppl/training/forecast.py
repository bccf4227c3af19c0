"""How long a training run will take, before its first update."""

from typing import Any

import jax
import numpy as np

from amortppl.runtime.timings import timings
from amortppl.training.learner import Learner
from amortppl.training.trainer import CHUNK, Trainer


def forecast(trainer: Trainer, learner: Learner) -> tuple[Learner, float]:
    """Seconds of the whole run, by one evaluation on the held-out tasks, and no update.

    An evaluation costs what an update does, and each chunk of updates ends with one. What is
    compiled for it counts for nothing, as updates take the same program.

    Returns:
        The learner to go on with, and seconds.
    """
    none = np.full(CHUNK, np.iinfo(np.int32).max - 1, np.int32)
    given: Any = trainer.everywhere((none, trainer.keys(none), np.zeros(CHUNK, np.float32)))
    with timings() as spent:
        learner, _ = jax.block_until_ready(trainer.advance(learner, *given, trainer.pool))
    each = max(spent.seconds - spent.total.preparing, 0.0)
    updates = trainer.schedule.steps or 0
    return learner, each * (updates + -(-updates // CHUNK)) + trainer.later
