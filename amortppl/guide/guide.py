"""A trained method bound to its task."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from amortppl.data.batches import Batches
from amortppl.data.columns import Columns
from amortppl.errors import DataError
from amortppl.guide import predict as prediction
from amortppl.guide import storage
from amortppl.guide.infer import infer
from amortppl.guide.infer_stream import infer_stream
from amortppl.guide.local_verbs import LocalVerbs
from amortppl.guide.options import Keywords, Streaming, ladder_of, streaming_of
from amortppl.guide.predict import infer_latent
from amortppl.guide.warm import warm
from amortppl.method import Method, Spec
from amortppl.posterior.state import State
from amortppl.runtime.arguments import expect_draws, expect_seed
from amortppl.runtime.timings import Timings, timings
from amortppl.training.prepared_tasks import PreparedTasks
from amortppl.training.ranges import Ranges
from amortppl.training.record import Record
from amortppl.trust.attempt import Ladder
from amortppl.trust.misspecification import Familiarity

if TYPE_CHECKING:
    import xarray


class Guide(LocalVerbs):
    """A trained method with the user's verbs: posteriors of any dataset of one task.

    Attributes:
        method: the trained method (an Equinox module with `init`, `step`, `readout`).
        task: the task it was trained for.
        spec: the options it was built with.
        record: how it was trained.
        ranges: what it was trained on.

    Example:
        >>> import amortppl as ap, tempfile
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> data = {"y": [0.3, -0.2, 1.1, 0.4]}  # the posterior of the mean is N(0.32, 0.2)
        >>> post = guide.infer(data)
        >>> post["posterior"]["mean"].shape, bool(post["sample_stats"]["reliable"])
        ((1, 1000), True)
        >>> guide.predict(data, at=2, draws=100)["predictions"]["y"].shape
        (1, 100, 2)
        >>> guide.log_predictive(data, {"y": [0.32, 4.32]}).round().tolist()
        [-1.0, -8.0]
        >>> guide.log_prob(data, {"mean": [0.32, 1.32]}).round().tolist()
        [-0.0, -3.0]
        >>> guide.familiarity.json().keys() >= {"rows", "fits"}  # of simulated tasks
        True
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ap.load(guide.save(f"{folder}/guide")).hash == guide.hash
        True
    """

    def __init__(
        self,
        method: Method,
        spec: Spec,
        record: Record,
        seed: int,
        ranges: Ranges | None = None,
        familiarity: Familiarity | None = None,
        tasks: PreparedTasks | None = None,
    ) -> None:
        super().__init__(method, spec, record, seed, ranges)
        self._familiarity, self._tasks = familiarity, tasks
        self.__name__ = f"guide_{self.task.name}"

    @property
    def familiarity(self) -> Familiarity:
        """What simulated tasks look like to it; computed when first needed, saved with it."""
        if self._familiarity is None:
            self._familiarity, self._tasks = Familiarity.from_simulations(self, self._tasks), None
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
            the two groups above. Where rows lie in groups, the posterior has the groups' effects
            too, and log likelihoods are by group. Warnings are in the attributes. In sample_stats,
            one number for each dataset unless it says otherwise, are

            - `reliable`: whether the draws can be used as they are, by all that follows,
            - `khat`, `importance_sample_size`: Pareto k-hat of the weights p(theta, D) / q(theta),
              and how many draws they leave,
            - `log_weight`, `log_guide`, `log_joint`: by draw, in nats,
            - `mean_moved`, `sd_moved`: largest change, by the weights, of a mean, in sds, and of
              the logarithm of a sd,
            - `finite`: whether all draws are finite,
            - `log_joint_error`: the log joint that was used minus the plain model's on the rows as
              they came, in nats (the larger of two draws); NaN where it is not compared, which is
              where latents are integrated out; `log_joint_agrees`: whether rounding explains it,
            - `distance`, `distance_p`, `fit_p`: distance from the simulated tasks, its p-value (NaN
              where the method has no summary), and the p-value of the fit,
            - `log_evidence`, `log_evidence_error`: log p(D) by importance sampling, in nats,
            - `rows`, `steps`, `source`: rows, steps taken, and the rung the draws are from; with
              `trust` also `rhat`, `rung_seconds` and `rung_failed` by rung.

            The attribute `timings` says where the time went (`ap.timings`).

        Raises:
            DataError: the data do not fit the task.

        Warns:
            OutOfRangeWarning: rows or values beyond the range trained on.
            UnreliableWarning: the log joint is not the plain model's on these data.
        """
        self._expect_numbers(draws, seed)
        with timings() as spent:
            keep = (log_likelihood, predictive)
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
        like = None if self.task.local.dear else self.familiarity
        return infer(self, like, data, draws, seed, columns, keep, climb)

    def predict(
        self,
        data: Any,
        at: Any = None,
        draws: int = 1000,
        seed: int = 0,
        *,
        steps: int | None = None,
        columns: Columns | None = None,
    ) -> "xarray.DataTree":
        """Predictive draws of the observations at new inputs, or of the next rows of a series.

        Args:
            data: the dataset seen; mini-batches; a state; or None, for the prior predictive.
            at: inputs of the new rows: a dict of arrays or a DataFrame; their number where the
                model has no inputs. Rows of groups in `data` are predicted by the effects of these,
                others by effects drawn from their population.
            draws: S, the number of draws.
            seed: the seed of the draws.
            steps: of a series (`Task.ordered`), how many rows to forecast, from the rows seen or
                the last rows of a state. Where it has inputs, `at` holds those of the next rows.
            columns: for DataFrames, the columns of each argument.

        Returns:
            A DataTree with ArviZ's groups `predictions` and `predictions_constant_data`.
            `attrs["warnings"]` says where the draws of the latents that they rest on fail the
            checks of `infer`.

        Raises:
            DataError: `data` or `at` do not fit the task.
        """
        self._expect_numbers(draws, seed)
        return prediction.predict(self, data, at, draws, seed, columns, steps)

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

        log 1/S sum_s p(y*_i | x*_i, theta_s), theta_s ~ q(theta | D). Of a series they are the next
        ones, and those between are drawn. A method that predicts by itself has its own. Arguments
        are those of `predict`; `at` holds the observations too. Whether the draws can be relied on
        `infer` and `predict` say.

        Raises:
            DataError: `data` or `at` do not fit the task.

        Warns:
            UnreliableWarning: the log joint behind their check is not the model's own.
        """
        self._expect_numbers(draws, seed)
        return prediction.log_predictive(self, data, at, draws, seed, columns)

    def _expect_numbers(self, draws: int, seed: int) -> None:
        expect_draws(draws, self.task.latents.size)
        expect_seed(seed)

    def warm(self, draws: int = 1000, lists: bool = False) -> Timings:
        """Compiles what `infer` and `predict` need for datasets of any size trained on.

        With the persistent cache (docs/compilation.md) later processes load these programs.

        Args:
            draws: S, as it will be asked for.
            lists: whether lists of datasets will be inferred too; these have programs of their own.

        Returns:
            Where the time went, by program.

        Example:
            >>> import amortppl as ap
            >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), steps=2, progress=False)
            >>> guide.warm(draws=100).seconds > 0
            True
        """
        return warm(self, draws, lists)

    def save(self, path: str | Path) -> Path:
        """Writes the guide to a folder: guide.json, weights.safetensors, certificate.json.

        Returns:
            The folder's path.

        Raises:
            GuideError: the folder holds other than a guide.
            OSError: it cannot be written, or lies inside another guide's.
        """
        return storage.save(self, self.familiarity, path)
