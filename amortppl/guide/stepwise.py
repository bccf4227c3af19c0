"""A trained method step by step: states, and streams of them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from amortppl.data.batches import Batches
from amortppl.data.columns import Columns
from amortppl.data.dataset import read
from amortppl.data.several_groups import refuse_parts_of_groupings
from amortppl.data.stamps import expect_stamps, last_stamp
from amortppl.guide.predict import begin_at
from amortppl.method import refuse_parts
from amortppl.posterior import padding
from amortppl.posterior.draws import log_prob, step
from amortppl.posterior.series_stream import step_in_order
from amortppl.posterior.state import BY_HAND, State, expect_own_guide, load_state
from amortppl.posterior.stream import stream
from amortppl.training.trained import TrainedMethod


class StepwiseGuide(TrainedMethod):
    """The contract of every method, on data: `init`, `step` and `posterior`, and its density.

    Example:
        >>> import amortppl as ap, jax, numpy as np, tempfile
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> state = guide.step(guide.init(), {"y": [0.3, -0.2, 1.1, 0.4]})
        >>> vectors, log_density = guide.posterior(state).sample(jax.random.key(0), 100)
        >>> vectors.shape, log_density.shape
        ((100, 1), (100,))
        >>> rows = ap.batches({"y": np.linspace(-1.0, 2.0, 12)}, size=4)
        >>> [s.rows for s in guide.stream(rows, every=4, progress=False)]
        [4, 8, 12]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     guide.load_state(state.save(f"{folder}/state")).rows
        4
    """

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
            DataError: the rows do not fit the task, or their time stamps do not go on from those
                that the state has seen.
            GuideError: the state is of another guide, or the rows are tied to those that it has
                seen.
        """
        expect_own_guide(self, state)
        refuse_parts_of_groupings(self.task)
        expect_stamps(self.task, batch, state.stamp, state.rows)
        dataset = read(self.task, batch, columns)
        if state.rows:
            refuse_parts(self.method)
        if self.task.ordered:
            stamp = last_stamp(self.task, batch)
            after = step_in_order(self, state, dataset.arrays)
            return after if stamp is None else replace(after, stamp=stamp)
        value = step(self.method, state.value, padding.pad(self.task, dataset))
        rows, steps = state.rows + dataset.rows, state.steps + 1
        return replace(state, value=value, rows=rows, steps=steps, place=BY_HAND)

    def posterior(self, state: State) -> Any:
        """The distribution over the latents' unconstrained vector (P,) at a state.

        It has `sample(key, draws)`, which returns draws (S, P) and their log densities (S,), and
        `log_prob(vector)`, in nats.

        Raises:
            GuideError: the state is of another guide.
        """
        expect_own_guide(self, state)
        return state.posterior

    def log_prob(
        self, data: Any, latents: Mapping[str, Any], *, columns: Columns | None = None
    ) -> np.ndarray:
        """Log density log q(theta | D), in nats, of latents in their own space.

        Args:
            data: the dataset D.
            latents: values by site, each with the same leading shape (or none).
            columns: for DataFrames, the columns of each argument.

        Returns:
            An array of that leading shape.

        Raises:
            DataError: the data do not fit.
            KeyError: a latent is missing.
        """
        return log_prob(self.method, read(self.task, data, columns), latents)

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

        The memory used does not depend on the length of the source. The last state yielded has seen
        all rows. Rows in groups come sorted by group, with `shuffle=None`; mini-batches are then of
        whole groups, `every` counts these, and a state does not stop in the middle of a source.

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
