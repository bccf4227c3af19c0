"""Tasks of other things than a model: episodes drawn from data, simulators, and simulations."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import PRNGKeyArray
from numpyro.distributions.constraints import Constraint

from amortppl.simulators.targets import Targets
from amortppl.task.episode_task import EpisodeTask
from amortppl.task.simulated_table import from_simulations
from amortppl.task.simulation_task import SimulationTask
from amortppl.task.simulator import Runs, from_simulator


class TasksWithoutModels:
    """The constructors of `ap.Task` that take no model with a density."""

    @staticmethod
    def from_episodes(
        episodes: Callable[[PRNGKeyArray, int], Mapping[str, Any]],
        inputs: Sequence[str],
        observed: Mapping[str, Constraint],
        rows: tuple[int, int] | int,
        **labels: Any,
    ) -> EpisodeTask:
        """A task whose datasets are episodes drawn from data, where there is no model to simulate
        from.

            context and queries = episodes(key, N + N*),    min  E -log p(y* | x*, context)

        It has no latents and no likelihood: the methods that predict observations serve it.

        Args:
            episodes: `(key, rows) -> dict of arrays`, each with `rows` rows first, in jax.numpy, so
                that it can be compiled and batched. The first rows are the context, any number in
                `rows`; those after it the queries.
            inputs: names of the inputs.
            observed: the support of every observation, from `numpyro.distributions.constraints`;
                for classes
                0..C-1 `{"y": constraints.integer_interval(0, C - 1)}`.
            rows: the smallest and largest number of context rows to train for, or one fixed number.
            labels: `name`, `dims` and `coords`, as of a `Task`.

        Raises:
            ModelError: the callable fails, cannot be compiled, lacks an argument, or returns other
                than `rows` finite rows within the supports.
        """
        return EpisodeTask(episodes, inputs, observed, rows, **labels)

    @staticmethod
    def from_simulator(
        prior: Any,
        simulator: Callable[..., Any],
        rows: tuple[int, int] | int | None = None,
        *,
        targets: Targets = None,
        simulations: int | None = None,
        path: str | Path | None = None,
        workers: int | None = None,
        seed: int = 0,
        held_out: float = 0.1,
        progress: bool = True,
        **labels: Any,
    ) -> SimulationTask:
        """A task of a prior and any simulator: NumPy, compiled code, another process, or JAX.

            theta ~ prior,    x = simulator(theta)

        The simulator is a function of one draw. It takes latents by their names, or all of them as
        a dict in an argument of another name. It returns an array (then called `x`), or a dict of
        arrays by name. Where its randomness comes from is said by one more argument:

        - `rng`: a NumPy generator, or `seed`: a whole number. With neither, `numpy.random` and
          `random` are seeded before every call. Such a simulator is run in worker processes, once;
          draws that raise, or give text, NaN or another shape, are counted and left out.
        - `key`: it is written in JAX, and runs on the device, anew for every update of training.

        Methods learn from data alone (`parametric` with data as its signal). What needs a density
        is refused or left out: weights and k-hat, the ladder, log likelihoods, NUTS.

        Args:
            prior: a NumPyro or Pyro program without arguments, or distributions by name.
            simulator: the function.
            rows: the smallest and largest number of rows to train for, or one fixed number, where
                the first axis of the simulator's output holds exchangeable rows, as trials. It is
                asked for the largest number, as its argument `rows`. None for one block.
            targets: latents, and functions of latents, to have a posterior of; the others are
                integrated out. By default all latents.
            simulations: how many, by default 10,000; for a simulator in Python.
            path: a folder that keeps them as they come. A run that was killed, or that asks for
                more, goes on with what is there.
            workers: processes, by default as many as there are cores; with 1 none is started.
            seed: of the simulations; each is a function of it and of its own number.
            held_out: the share of the simulations that nothing is learned from. Half of it says
                when training stops, half is for `diagnose` and what else checks; of few simulations
                20 each, at least.
            progress: whether to report.
            labels: `name`, `dims` and `coords`, as of a `Task`; and `ordered=True` where the rows
                are the steps of one series, for the encoders `gru`, `temporal_convolution` and
                `series_transformer`, or the name of their time stamps in data.

        Raises:
            ModelError: the prior or the simulator's arguments cannot be read, a target is discrete,
                or most simulations fail.

        Warns:
            SimulationWarning: some simulations failed.

        Example:
            >>> import amortppl as ap, numpyro.distributions as dist
            >>> def simulate(mean, rng):
            ...     return rng.normal(mean, size=10)
            >>> prior, some = {"mean": dist.Normal(0, 1)}, {"simulations": 500, "workers": 1}
            >>> task = ap.Task.from_simulator(prior, simulate, **some, progress=False)
            >>> task.arguments, task.latents.names, task.stored.size
            (['x'], ['mean'], 500)
        """
        runs = Runs(simulations, path, workers, seed, held_out, progress)
        return from_simulator(prior, simulator, rows, targets, runs, labels)

    @staticmethod
    def from_simulations(
        latents: Any,
        data: Mapping[str, Any] | None = None,
        rows: tuple[int, int] | int | None = None,
        *,
        table: Any = None,
        supports: Mapping[str, Constraint] | None = None,
        targets: Targets = None,
        held_out: float = 0.1,
        **labels: Any,
    ) -> SimulationTask:
        """A task of simulations that are there already.

        Args:
            latents, data: arrays by name, with one simulation after another in the first axis;
                arrays mapped into memory stay on disk. With `table`, the column or columns of each
                name. Or one path in place of both: a folder that `from_simulator` wrote.
            rows: the smallest and largest number of rows to train for, where the second axis of the
                data holds exchangeable rows; None for one block.
            table: a DataFrame (pandas, polars, Arrow), a Parquet file, or a folder of Parquet
                files. What is larger than 1 GB is not held in memory.
            supports: of latents, from `numpyro.distributions.constraints`; others are read off the
                simulations: the real line, or from an edge that the draws have.
            targets, held_out, labels: as of `from_simulator`.

        Raises:
            DataError: no numbers, unequal lengths, too few simulations, a column is missing or on
                both sides, or a target is discrete.

        Warns:
            SimulationWarning: some have values that are not finite, and are left out.

        Example:
            >>> import amortppl as ap, numpy as np
            >>> rate = np.random.default_rng(0).exponential(size=1000)
            >>> counts = np.random.default_rng(1).poisson(rate[:, None], (1000, 5))
            >>> task = ap.Task.from_simulations({"rate": rate}, {"counts": counts})
            >>> task.sites["rate"].support
            'Positive'
        """
        return from_simulations(latents, data, rows, table, supports, targets, held_out, labels)
