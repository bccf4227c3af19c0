"""How long and how fast a training run learns."""

from dataclasses import dataclass


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
        mini_batch: rows of a mini-batch in greedy training (`amortppl.training.greedy`), where an
            update takes one step of each task in a pool, however many steps it has behind it; None
            unrolls `mini_batches` steps.
        patience: updates without progress on held-out simulations after which a run on stored
            simulations ends (`amortppl.training.stored`).
        pooled: whether tasks are kept with their states and serve several updates
            (`amortppl.training.pooled`), where one step takes all rows of fresh tasks, on one
            device.
        pool: updates' tasks that such a pool holds.
        reuses: updates that a task of such a pool serves, on average.
        noise: scale of errors that are added to the rows learned from, in scales of the
            observations; robust against data that are not as simulated, for methods without a
            likelihood (`amortppl.training.noise`; 0.25 in its paper).
    """

    steps: int | None = 1000
    minutes: float | None = None
    batch: int = 128
    rate: float = 2e-3
    average: float = 0.99
    mini_batches: int = 1
    uneven: bool = False
    simulations: int | None = None
    mini_batch: int | None = None
    patience: int = 2000
    pooled: bool = False
    pool: int = 32
    reuses: int = 4
    noise: float = 0.0
