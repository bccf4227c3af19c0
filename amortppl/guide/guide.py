"""A trained method bound to its task."""

import json
from collections.abc import Mapping
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
from amortppl.guide.stepwise import StepwiseGuide
from amortppl.guide.warm import warm
from amortppl.method import Method, Spec
from amortppl.posterior.draws import log_prob
from amortppl.posterior.state import State
from amortppl.runtime.arguments import expect_draws, expect_seed, expect_whole
from amortppl.runtime.timings import Timings, timings
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record
from amortppl.trust.attempt import Ladder
from amortppl.trust.misspecification import Familiarity

if TYPE_CHECKING:
    import xarray


class Guide(StepwiseGuide):
    """A trained method with the user's verbs: posteriors of any dataset of one task.

    Attributes:
        method: the trained method (an Equinox module with `init`, `step`, `readout`).
        task: the task it was trained for.
        spec: the options it was built with.
        record: how it was trained.
        ranges: what it was trained on.

    Example:
        >>> import amortppl as ap
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), steps=2, progress=False)
        >>> data = {"y": [0.3, -0.2, 1.1, 0.4]}
        >>> guide.infer(data, draws=100)["posterior"]["mean"].shape
        (1, 100)
        >>> guide.predict(data, at=2, draws=100)["predictions"]["y"].shape
        (1, 100, 2)
        >>> guide.step(guide.init(), data).rows
        4
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
        """What simulated tasks look like to it; computed when first needed, saved with it."""
        self._familiarity = self._familiarity or Familiarity.from_simulations(self)
        return self._familiarity

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
        **keywords: Unpack[Keywords],
    ) -> "xarray.DataTree":
        """Posterior of one dataset, of a list of datasets in batched calls, or of mini-batches.

        Args:
            data: a dict of arrays by argument, a DataFrame, or a list of these (the result then
                has a leading dimension `task`); mini-batches from `amortppl.batches`, for data
                larger than memory; or a state, for its posterior as it stands.
            draws: S, the number of independent draws for each dataset.
            seed: the seed of the draws.
            columns: for DataFrames, the columns of each argument.
            log_likelihood, predictive: whether to keep the log likelihood of each row and
                predictive draws; by default when draws x rows <= 2e7.
            trust: "ladder", or an `ap.Ladder` with its thresholds: each dataset whose check fails
                is inferred by the cheapest rung that passes.
            streaming: for mini-batches, how to go through them.
            keywords: fields of `Ladder` or `Streaming`.

        Returns:
            A DataTree in ArviZ's schema: posterior, sample_stats, observed_data, constant_data, and
            the two groups above. In sample_stats are khat, log_weight, log_guide, log_joint and
            log_evidence; mean_moved and sd_moved, the largest changes by weights of a mean, in sds,
            and of the logarithm of a sd; distance from the simulated tasks, distance_p and fit_p.
            Warnings are in the attributes, and under `timings` where the time went (`ap.timings`).

        Raises:
            DataError: the data do not fit the task.

        Warns:
            OutOfRangeWarning: rows or values beyond the range trained on.
        """
        self._expect_numbers(draws, seed)
        keep = (log_likelihood, predictive)
        with timings() as spent:
            tree = self._infer(data, draws, seed, columns, keep, trust, streaming, keywords)
        tree.attrs["timings"] = json.dumps(spent.summary())
        return tree

    def _infer(
        self,
        data: Any,
        draws: int,
        seed: int,
        columns: Columns | None,
        keep: tuple[bool | None, bool | None],
        trust: str | Ladder | None,
        streaming: Streaming | None,
        keywords: Any,
    ) -> "xarray.DataTree":
        if self.method.predicts:
            return infer_latent(self, data, draws, seed, columns, **keywords)
        if isinstance(data, Batches | State):
            if trust is not None:
                what = "is for datasets in memory, not for mini-batches or a state"
                raise DataError(f"trust: {trust!r} {what}")
            return infer_stream(self, data, draws, seed, streaming_of(streaming, keywords))
        if streaming is not None:
            raise DataError("streaming: for mini-batches; pass ap.batches(data) as the data")
        climb = ladder_of(trust, keywords)
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
            data: the dataset seen; mini-batches; a state; or None, for the prior predictive.
            at: inputs of the new rows: a dict of arrays or a DataFrame; their number where the
                model has no inputs.
            draws: S, the number of draws.
            seed: the seed of the draws.
            columns: for DataFrames, the columns of each argument.

        Returns:
            A DataTree with ArviZ's groups `predictions` and `predictions_constant_data`.
        """
        self._expect_numbers(draws, seed)
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
        """Log predictive density of each new row, (N_new,), in nats.

        log 1/S sum_s p(y*_i | x*_i, theta_s), theta_s ~ q(theta | D). A method that predicts by
        itself has its own.
        """
        self._expect_numbers(draws, seed)
        return prediction.log_predictive(self, data, at, draws, seed, columns)

    def log_prob(
        self, data: Any, latents: Mapping[str, Any], *, columns: Columns | None = None
    ) -> np.ndarray:
        """Log density of latents, in their own space, under the posterior of a dataset.

        Args:
            data: the dataset.
            latents: values by site, each with the same leading shape (or none).
        """
        return log_prob(self.method, read(self.task, data, columns), latents)

    def local(
        self, draws: Any, data: Any, seed: int = 0, *, columns: Columns | None = None
    ) -> "xarray.DataTree":
        """Draws of the latents of which every row has its own, given draws of the shared ones.

        u_i ~ p(u_i | y_i, x_i, theta_s) for row i and draw s.

        Args:
            draws: what `infer` returned (or its `posterior`), or a dict of arrays by shared latent.
            data: rows with their observations, of the dataset inferred from or others.
            seed: the seed of the draws.
            columns: for DataFrames, the columns of each argument.

        Returns:
            A DataTree whose `posterior` has the sites with one value per row, with the dimensions
            (chain, draw, row).

        Raises:
            DataError: the task has no such latents, the draws lack a shared one, or the data do not
                fit.
        """
        expect_seed(seed)
        return local_draws.draw_local(self, draws, data, seed, columns)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Samples the model's latents as a NumPyro guide, given the model's arguments.

        The weights are the parameter `amortppl_weights`, so `SVI` fine-tunes them.

        Raises:
            DataError: an argument is missing, or the task has local latents.
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
            chains: the number of chains; each starts at a draw from the guide.
            seed: the seed of the draws.
            columns: for DataFrames, the columns of each argument.
            options: further options of `numpyro.infer.NUTS`, whose `target_accept_prob` is 0.7
                here. Where k-hat is above 0.7, `adapt_mass_matrix=True` with a warm-up of some
                hundreds of steps.

        Returns:
            (kernel, init_params), for `MCMC(kernel, ...).run(key, ..., init_params=init_params)`.
            The mass matrix is the guide's covariance and stays: a warm-up of 50 steps is enough.

        Raises:
            DataError: the data do not fit, or the task has local latents.
        """
        expect_whole("chains", chains, 1)
        expect_seed(seed)
        return numpyro_guide.start_nuts(self, data, chains, seed, columns, options)

    def _expect_numbers(self, draws: int, seed: int) -> None:
        expect_draws(draws, self.task.latents.size)
        expect_seed(seed)

    def to_pyro(self) -> Any:
        """This guide for Pyro's SVI, Importance, Predictive and NUTS.

        See `amortppl.guide.pyro_guide.PyroGuide`.
        """
        from amortppl.pyro.requirements import require

        require()
        from amortppl.guide.pyro_guide import PyroGuide

        return PyroGuide(self)

    def warm(self, draws: int = 1000, lists: bool = False) -> Timings:
        """Compiles what `infer` and `predict` need for datasets of any size trained on.

        With the persistent cache (docs/compilation.md) later processes load these programs.

        Lists of datasets have programs of their own. Returns where the time went.

        Example:
            >>> import amortppl as ap
            >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), steps=2, progress=False)
            >>> guide.warm(draws=100).seconds > 0
            True
        """
        return warm(self, draws, lists)

    def save(self, path: str | Path) -> Path:
        """Writes the guide to a folder: guide.json, weights.safetensors, certificate.json."""
        return storage.save(self, self.familiarity, path)
