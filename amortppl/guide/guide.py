"""A trained method bound to its task."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from amortppl.data.batches import Batches
from amortppl.data.columns import Columns
from amortppl.data.dataset import read
from amortppl.errors import DataError
from amortppl.guide import local_draws, numpyro_guide, storage
from amortppl.guide import predict as prediction
from amortppl.guide.infer import infer
from amortppl.guide.infer_stream import infer_stream
from amortppl.guide.options import Keywords, Streaming, ladder_of, streaming_of
from amortppl.guide.predict import infer_latent
from amortppl.method import Method, Spec, refuse_parts
from amortppl.posterior import padding
from amortppl.posterior.draws import log_prob, step
from amortppl.posterior.state import BY_HAND, State, load_state
from amortppl.posterior.stream import stream
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record
from amortppl.training.trained import TrainedMethod
from amortppl.trust.attempt import Ladder
from amortppl.trust.misspecification import Familiarity

if TYPE_CHECKING:
    import xarray


class Guide(TrainedMethod):
    """Posteriors of any dataset of one task.

    Attributes:
        method: the trained method (an Equinox module with `init`, `step`, `readout`).
        task: the task it was trained for.
        spec: the options it was built with.
        record: how it was trained.
        ranges: what it was trained on.
    """

    def __init__(
        self,
        method: Method,
        spec: Spec,
        record: Record,
        seed: int,
        ranges: Ranges | None = None,
        familiarity: Familiarity | None = None,
    ) -> None:
        super().__init__(method, spec, record, seed, ranges)
        self._familiarity = familiarity
        self.__name__ = f"guide_{self.task.name}"

    @property
    def familiarity(self) -> Familiarity:
        """What simulated tasks look like to it: found once, when first needed, and kept in its
        certificate.
        """
        self._familiarity = self._familiarity or Familiarity.from_simulations(self)
        return self._familiarity

    # The contract, by hand.

    def init(self) -> State:
        """The state before any row was seen."""
        return State(self, self.method.init())

    def step(self, state: State, batch: Any, columns: Columns | None = None) -> State:
        """The state after one more mini-batch (a dict of arrays or a DataFrame).

        Raises:
            DataError: the rows do not fit the task.
            GuideError: they are tied to rows that the state has seen.
        """
        dataset = read(self.task, batch, columns)
        if state.rows:
            refuse_parts(self.method)
        value = step(self.method, state.value, padding.pad(self.task, dataset))
        return replace(
            state, value=value, rows=state.rows + dataset.rows, steps=state.steps + 1, place=BY_HAND
        )

    def posterior(self, state: State) -> Any:
        """The distribution over the latents' unconstrained vector at a state."""
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
        """An anytime posterior: the state after each mini-batch, or whenever `every` more rows were
        seen.

        Memory stays constant however long the source is. The last state yielded has seen all rows.

        Args:
            batches: from `amortppl.batches`.
            state: what to go on from: yesterday's posterior, or a state that stopped in the middle
                of the same source (then the pass goes on there, to the same result).
            passes: how often to go through the source. A further pass averages gradient and
                curvature of all rows over the posterior found before: nothing counts twice.
            every: rows between two states; None for every mini-batch.
            keep: a file that the state is written to every ten seconds and at the end.
            progress: whether to report while it runs.

        Raises:
            DataError: the source has no rows, or rows that do not fit the task (which file, which
                row).
            GuideError: the state stopped in the middle of another source, or `passes` are complete.
        """
        return stream(
            self,
            batches,
            state or self.init(),
            passes=passes,
            every=every,
            keep=keep,
            progress=progress,
        )

    def load_state(self, path: str | Path) -> State:
        """Reads a state that `State.save` wrote.

        Raises:
            GuideError: no such file, cut short, or of another guide.
        """
        return load_state(self, path)

    # Inference.

    def infer(
        self,
        data: Any,
        draws: int = 1000,
        seed: int = 0,
        *,
        columns: Columns | None = None,
        log_likelihood: bool | None = None,
        predictive: bool | None = None,
        trust: str | Ladder | None = None,
        streaming: Streaming | None = None,
        **given: Unpack[Keywords],
    ) -> "xarray.DataTree":
        """Posterior of one dataset, of a list of datasets in batched calls, or of mini-batches.

        Args:
            data: a dict of arrays by argument, a DataFrame, or a list of these (then the result
                has a leading dimension `task`); mini-batches from `amortppl.batches`, for data
                larger than memory; or a state, for its posterior as it stands.
            draws: S, independent draws for each dataset.
            seed: of the draws.
            columns: for DataFrames, the columns of each argument.
            log_likelihood, predictive: whether to keep the log likelihood of each row and
                predictive draws; by default when draws x rows <= 2e7.
            trust: "ladder", or an `ap.Ladder` with its thresholds, to climb, for each dataset whose
                check fails, to the cheapest rung that passes.
            streaming: for mini-batches, how to go through them.
            given: fields of `Ladder` or `Streaming`, as keywords.

        Returns:
            A DataTree in ArviZ's schema: posterior, sample_stats (khat, log_weight, log_guide,
            log_joint, log_evidence; mean_moved and sd_moved, the largest changes by weights of a
            mean, in sds, and of the logarithm of a sd; distance from the simulated tasks,
            distance_p, fit_p), observed_data, constant_data, and the two groups above. Warnings are
            in the attributes.

        Raises:
            DataError: the data do not fit the task.

        Warns:
            OutOfRangeWarning: rows or values beyond the range trained on.
        """
        if self.method.predicts:
            return infer_latent(self, data, draws, seed, columns, **given)
        if isinstance(data, Batches | State):
            if trust is not None:
                what = "is for datasets in memory, not for mini-batches or a state"
                raise DataError(f"trust: {trust!r} {what}")
            return infer_stream(self, data, draws, seed, streaming_of(streaming, given))
        if streaming is not None:
            raise DataError("streaming: for mini-batches; pass ap.batches(data) as the data")
        climb = ladder_of(trust, given)
        keep = (log_likelihood, predictive)
        return infer(self, self.familiarity, data, draws, seed, columns, keep, climb)

    def predict(
        self,
        data: Any,
        at: Any,
        draws: int = 1000,
        seed: int = 0,
        *,
        columns: Columns | None = None,
    ) -> "xarray.DataTree":
        """Posterior predictive draws of the observations at new inputs, in every regime.

        Args:
            data: the dataset that is known; mini-batches; a state; or None, for the prior
                predictive.
            at: inputs of the new rows: a dict of arrays or a DataFrame.
            draws: S.
            seed: of the draws.
            columns: for DataFrames, the columns of each argument.

        Returns:
            A DataTree with ArviZ's groups `predictions` and `predictions_constant_data`.
        """
        return prediction.predict(self, data, at, draws, seed, columns)

    def log_predictive(
        self,
        data: Any,
        at: Any,
        draws: int = 1000,
        seed: int = 0,
        *,
        columns: Columns | None = None,
    ) -> np.ndarray:
        """Log predictive density of each new row, shape (N_new,).

        log 1/S sum_s p(y*_i | x*_i, theta_s), theta_s ~ q(theta | D); where a method predicts by
        itself, its own.
        """
        return prediction.log_predictive(self, data, at, draws, seed, columns)

    def log_prob(
        self, data: Any, latents: Mapping[str, Any], *, columns: Columns | None = None
    ) -> np.ndarray:
        """Log density of latents under the guide's posterior of a dataset, in the latents' own
        space.

        Args:
            data: the dataset.
            latents: values by site, each with the same leading shape (or none).
        """
        return log_prob(self.method, read(self.task, data, columns), latents)

    def local(
        self, draws: Any, data: Any, seed: int = 0, *, columns: Columns | None = None
    ) -> "xarray.DataTree":
        """Draws of the latents of which every row has its own, one for each draw of the shared
        ones.

        u_i ~ p(u_i | y_i, x_i, theta_s) for row i and draw s.

        Args:
            draws: what `infer` returned (or its `posterior`), or a dict of arrays by shared latent.
            data: rows with their observations: all, some, or others than the draws were inferred
                from.
            seed: of the draws.
            columns: for DataFrames, the columns of each argument.

        Returns:
            A DataTree whose `posterior` holds the sites with one value per row, dims (chain, draw,
            row).

        Raises:
            DataError: the task has no such latents, the draws lack a shared one, or the data do not
                fit.
        """
        return local_draws.draw_local(self, draws, data, seed, columns)

    # Other guide code.

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Runs as a NumPyro guide of the model: takes the model's arguments, samples its latents.

        The weights are the parameter `amortppl_weights`, so `SVI` fine-tunes them.

        Raises:
            DataError: an argument is missing, or the task has latents that every row has of its
                own.
        """
        numpyro_guide.sample(self, args, kwargs)

    def start_nuts(
        self,
        data: Any,
        chains: int = 4,
        seed: int = 0,
        *,
        columns: Columns | None = None,
        **options: Any,
    ) -> Any:
        """A NUTS kernel and initial parameters that start from this dataset's posterior.

        Args:
            data: the dataset.
            chains: how many chains; each starts at a draw from the guide.
            seed: of the draws.
            columns: for DataFrames, the columns of each argument.
            options: further options of `numpyro.infer.NUTS`, whose `target_accept_prob` is 0.7
                here; `adapt_mass_matrix=True`, with a warm-up of some hundreds of steps, where
                k-hat says that the guide misses the posterior.

        Returns:
            (kernel, init_params), for `MCMC(kernel, ...).run(key, ..., init_params=init_params)`.
            The mass matrix is the guide's covariance and stays, so that a warm-up of 50 steps is
            enough.

        Raises:
            DataError: the data do not fit, or the task has latents that every row has of its own.
        """
        return numpyro_guide.start_nuts(self, data, chains, seed, columns, options)

    def to_pyro(self) -> Any:
        """This guide for Pyro's SVI, Importance, Predictive and NUTS: see
        `amortppl.guide.pyro_guide.PyroGuide`.
        """
        from amortppl.pyro.requirements import require

        require()
        from amortppl.guide.pyro_guide import PyroGuide

        return PyroGuide(self)

    def save(self, path: str | Path) -> Path:
        """Writes the guide to a folder: guide.json, weights.safetensors, certificate.json."""
        return storage.save(self, self.familiarity, path)
