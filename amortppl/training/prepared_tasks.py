"""The simulated tasks that a training run leaves behind with their states."""

from typing import Any, NamedTuple

from amortppl.task.batch import Batch


class PreparedTasks(NamedTuple):
    """Simulated tasks with what `Method.prepare` makes of each, as a run leaves them behind.

    Attributes:
        batches: their rows (T, R, ...).
        states: of each task, (T, ...).
        usable: whether its values are finite.
    """

    batches: Batch
    states: Any
    usable: Any
