"""A trained method step by step: states, and streams of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from amortppl.data.batches import Batches
from amortppl.data.columns import Columns
from amortppl.data.dataset import read
from amortppl.guide.predict import begin_at
from amortppl.method import refuse_parts
from amortppl.posterior import padding
from amortppl.posterior.draws import step
from amortppl.posterior.state import BY_HAND, State, expect_own_guide, load_state
from amortppl.posterior.stream import stream
from amortppl.training.trained import TrainedMethod


class StepwiseGuide(TrainedMethod):
    """The contract of every method, on data: `init`, `step` and `posterior`."""

    def init(self, at: Any = None, columns: Columns | None = None) -> State:
        """The state before any row was seen.

        Args:
            at: inputs of the queries, where the method's states belong to queries
                (`iterative_implicit`): rows are then streamed past them. A state of another method
                serves any query and needs none.
            columns: for DataFrames, the columns of each argument.

        Raises:
            GuideError: the method's states belong to queries, and none are given.
        """
        return begin_at(self, at, columns)

    def step(self, state: State, batch: Any, columns: Columns | None = None) -> State:
        """The state after one more mini-batch (a dict of arrays or a DataFrame).

        Raises:
            DataError: the rows do not fit the task.
            GuideError: the rows are tied to those that the state has seen.
        """
        expect_own_guide(self, state)
        dataset = read(self.task, batch, columns)
        if state.rows:
            refuse_parts(self.method)
        value = step(self.method, state.value, padding.pad(self.task, dataset))
        rows, steps = state.rows + dataset.rows, state.steps + 1
        return replace(state, value=value, rows=rows, steps=steps, place=BY_HAND)

    def posterior(self, state: State) -> Any:
        """The distribution over the latents' unconstrained vector at a state."""
        expect_own_guide(self, state)
        return state.posterior

    def stream(
        self,
        batches: Batches,
        state: State | None = None,
        *,
        passes: int = 1,
        every: int | None = None,
        keep: str | Path | None = None,
        progress: bool = True,
    ) -> Iterator[State]:
        """The state after each mini-batch, or after every so many rows: an anytime posterior.

        Memory stays constant however long the source is. The last state yielded has seen all rows.

        Args:
            batches: from `amortppl.batches`.
            state: where to start: yesterday's posterior, or a state that stopped in the middle of
                the same source, from where the pass goes on to the same result.
            passes: how often to go through the source. A further pass averages gradient and
                curvature of all rows over the posterior before it, so no row counts twice.
            every: rows between two states; None for every mini-batch.
            keep: a file to write the state to, every ten seconds and at the end.
            progress: whether to report progress.

        Raises:
            DataError: the source has no rows, or rows that do not fit the task (which file, which
                row).
            GuideError: the state stopped in the middle of another source, or `passes` are complete.
        """
        options = {"passes": passes, "every": every, "keep": keep, "progress": progress}
        return stream(self, batches, state or self.init(), **options)

    def load_state(self, path: str | Path) -> State:
        """Reads a state that `State.save` wrote.

        Raises:
            GuideError: no such file, cut short, or of another guide.
        """
        return load_state(self, path)
