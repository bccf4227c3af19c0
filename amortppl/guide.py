"""A trained method bound to its task."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from amortppl.batches import Batches
from amortppl.data import Columns, Dataset, read
from amortppl.errors import DataError, OutOfRangeWarning
from amortppl.method import Method, Spec, final
from amortppl.ranges import Ranges
from amortppl.state import BY_HAND, State, load_state
from amortppl.task import Batch
from amortppl.trust import ladder, psis
from amortppl.trust.answer import checked
from amortppl.trust.familiarity import Familiarity

if TYPE_CHECKING:
    import xarray

    from amortppl.train import Record

WORK = 4_000_000
"""Draws times rows evaluated at once: bounds the memory of log densities at many draws."""

POINTWISE = 20_000_000
"""Draws times rows up to which pointwise log likelihoods and predictive draws are kept by default."""


class Drawn(NamedTuple):
    """Draws of a batch of T datasets: unconstrained vectors (T, S, P), log q and log joint (T, S), and what
    the method saw of each (T, F)."""

    vectors: Array
    log_guide: Array
    log_joint: Array
    features: Array


class Guide:
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
        record: "Record",
        seed: int,
        ranges: Ranges | None = None,
        familiarity: Familiarity | None = None,
    ) -> None:
        self.method, self.spec, self.record, self.seed = method, spec, record, seed
        self.task = method.task
        self.ranges = ranges or Ranges.simulated(self.task, seed)
        self._familiarity = familiarity
        self.__name__ = f"guide_{self.task.name}"

    @property
    def familiarity(self) -> Familiarity:
        """What simulated tasks look like to it: found once, when first needed, and kept in its certificate."""
        self._familiarity = self._familiarity or Familiarity.simulated(self)
        return self._familiarity

    # The contract, by hand.

    def init(self) -> State:
        """The state before any row was seen."""
        return State(self, self.method.init())

    def step(self, state: State, batch: Any, columns: Columns | None = None) -> State:
        """The state after one more mini-batch (a dict of arrays or a DataFrame).

        Raises:
            DataError: the rows do not fit the task.
        """
        dataset = read(self.task, batch, columns)
        value = _step(self.method, state.value, self._batch(dataset))
        return replace(state, value=value, rows=state.rows + dataset.rows, steps=state.steps + 1, place=BY_HAND)

    def posterior(self, state: State) -> Any:
        """The distribution over the latents' unconstrained vector at a state."""
        return _readout(self.method, state.value)

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
        """An anytime posterior: the state after each mini-batch, or whenever `every` more rows were seen.

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
            DataError: the source has no rows, or rows that do not fit the task (which file, which row).
            GuideError: the state stopped in the middle of another source, or `passes` are complete.
        """
        from amortppl.stream import stream

        return stream(self, batches, state or self.init(), passes=passes, every=every, keep=keep, progress=progress)

    def load_state(self, path: str | Path) -> State:
        """Reads a state that `State.save` wrote.

        Raises:
            GuideError: no such file, cut short, or of another guide.
        """
        return load_state(self, path)

    @cached_property
    def blank(self) -> Batch:
        """One row of zeros, for what needs the shapes of rows and not their values."""
        data = {n: np.zeros(s.shape, s.dtype) for n, s in self.task.rows_like.items()}
        return Batch(data, np.ones(len(next(iter(data.values()))), bool))

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
        trust: str | None = None,
        **streaming: Any,
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
            trust: "ladder" to climb, for each dataset whose check fails, to the cheapest rung that passes
                (`amortppl.trust.ladder`); its thresholds, `budget` and `keep` are further arguments.
            streaming: for mini-batches, `passes`, `state`, `every` (keeps the trace of means and sds),
                `keep` and `progress` as in `stream`, and `check`: whether to read all rows once more
                for k-hat; by default when draws x rows <= 5e8.

        Returns:
            A DataTree in ArviZ's schema: posterior, sample_stats (khat, log_weight, log_guide,
            log_joint, log_evidence; distance from the simulated tasks, distance_p, fit_p), observed_data,
            constant_data, and the two groups above. Warnings are in
            the attributes.

        Raises:
            DataError: the data do not fit the task.

        Warns:
            OutOfRangeWarning: rows or values beyond the range trained on.
        """
        from amortppl.results import posterior_tree

        if self.method.predicts:
            from amortppl.predictive.read_out import infer

            return infer(self, data, draws, seed, columns, **streaming)
        if isinstance(data, Batches | State):
            from amortppl.streamed import infer

            if trust is not None:
                raise DataError(f"trust: {trust!r} is for datasets in memory, not for mini-batches or a state")
            return infer(self, data, draws, seed, **streaming)
        climb = ladder.options(trust, streaming)
        single = not isinstance(data, Sequence) or isinstance(data, str | bytes)
        datasets = [read(self.task, d, columns) for d in ([data] if single else data)]
        if not datasets:
            raise DataError("data: expected at least one dataset, got an empty list")
        notes = [self._notes(d) for d in datasets]
        drawn = self._draw(datasets, draws, seed)
        check = psis.check(np.asarray(drawn.log_joint), np.asarray(drawn.log_guide))
        stats, said = checked(self, datasets, drawn, seed)
        notes = [a + b for a, b in zip(notes, said, strict=True)]
        if climb is not None:
            drawn, check, more, said = ladder.climbed(self, datasets, drawn, check, seed, climb)
            stats, notes = stats | more, [a + b for a, b in zip(notes, said, strict=True)]
        size = draws * sum(d.rows * _per_row(self, d) for d in datasets)
        keep = [size <= POINTWISE if k is None else k for k in (log_likelihood, predictive)]
        keep[0] = keep[0] and self.task.has_density
        return posterior_tree(self, datasets, drawn, check, notes, keep, seed, single, stats)

    def predict(
        self, data: Any, at: Any, draws: int = 1000, seed: int = 0, *, columns: Columns | None = None
    ) -> "xarray.DataTree":
        """Posterior predictive draws of the observations at new inputs, in every regime.

        Args:
            data: the dataset that is known; mini-batches; a state; or None, for the prior predictive.
            at: inputs of the new rows: a dict of arrays or a DataFrame.
            draws: S.
            seed: of the draws.
            columns: for DataFrames, the columns of each argument.

        Returns:
            A DataTree with ArviZ's groups `predictions` and `predictions_constant_data`.
        """
        from amortppl.predictive.read_out import predict

        return predict(self, data, at, draws, seed, columns)

    def log_predictive(
        self, data: Any, at: Any, draws: int = 1000, seed: int = 0, *, columns: Columns | None = None
    ) -> np.ndarray:
        """Log predictive density of each new row, shape (N_new,).

        log 1/S sum_s p(y*_i | x*_i, theta_s), theta_s ~ q(theta | D); where a method predicts by itself, its own.
        """
        from amortppl.predictive.read_out import log_predictive

        return log_predictive(self, data, at, draws, seed, columns)

    def log_prob(self, data: Any, latents: Mapping[str, Any], *, columns: Columns | None = None) -> np.ndarray:
        """Log density of latents under the guide's posterior of a dataset, in the latents' own space.

        Args:
            data: the dataset.
            latents: values by site, each with the same leading shape (or none).
        """
        batch = self._batch(read(self.task, data, columns))
        values = {n: jnp.asarray(latents[n], jnp.float32) for n in self.task.latents.names}
        first = self.task.latents.names[0]
        lead = values[first].shape[: values[first].ndim - len(self.task.latents.shapes[first])]
        flat = {n: v.reshape(-1, *self.task.latents.shapes[n]) for n, v in values.items()}
        return np.asarray(_log_prob(self.method, batch, flat)).reshape(lead)

    def local(self, draws: Any, data: Any, seed: int = 0, *, columns: Columns | None = None) -> "xarray.DataTree":
        """Draws of the latents of which every row has its own, one for each draw of the shared ones.

        u_i ~ p(u_i | y_i, x_i, theta_s) for row i and draw s.

        Args:
            draws: what `infer` returned (or its `posterior`), or a dict of arrays by shared latent.
            data: rows with their observations: all, some, or others than the draws were inferred from.
            seed: of the draws.
            columns: for DataFrames, the columns of each argument.

        Returns:
            A DataTree whose `posterior` holds the sites with one value per row, dims (chain, draw, row).

        Raises:
            DataError: the task has no such latents, the draws lack a shared one, or the data do not fit.
        """
        from amortppl.local_draws import read_out

        return read_out(self, draws, data, seed, columns)

    def pointwise(self, vectors: Array, dataset: Dataset) -> np.ndarray:
        """Log likelihood of each row at each draw, (S, N)."""
        padded = self._batch(dataset)
        size = min(max(1, WORK // padded.mask.shape[0]), len(vectors))
        return np.asarray(_pointwise(self.method, vectors, padded.data, size))[:, : dataset.rows]

    def predicted(self, vectors: Array, dataset: Dataset, seed: int) -> dict[str, np.ndarray]:
        """Predictive draws of every observation, (S, N, ...) by argument."""
        padded = self._batch(dataset)
        rows = padded.mask.shape[0]
        inputs = {n: padded.data[n] for n in self.task.inputs}
        keys = jr.split(jr.fold_in(jr.key(seed), 1), len(vectors))
        drawn = _predicted(self.method, vectors, inputs, keys, rows, min(max(1, WORK // rows), len(vectors)))
        return {n: np.asarray(v)[:, : dataset.rows] for n, v in drawn.items()}

    def constrained(self, vectors: Array, dataset: Dataset) -> dict[str, np.ndarray]:
        """Latents and deterministic sites at each draw, by name."""
        one = {n: v[:1] for n, v in dataset.arrays.items()} if self._row_free else dataset.arrays
        return {n: np.asarray(v) for n, v in _constrained(self.method, vectors, one).items()}

    @cached_property
    def _row_free(self) -> bool:
        """Whether rows may be added and left out: nothing in the model but the observations has their size."""
        return not self.task.block and self.task.rows[0] != self.task.rows[1]

    def _batch(self, dataset: Dataset) -> Batch:
        """A dataset padded to the next power of two, so that few shapes are ever compiled."""
        rows = dataset.rows
        size = max(8, 1 << (rows - 1).bit_length()) if self._row_free else rows
        pad = {n: np.concatenate([v, np.repeat(v[:1], size - rows, 0)]) for n, v in dataset.arrays.items()}
        return Batch(pad, np.arange(size) < rows)

    def _at(self, at: Any, columns: Columns | None, observed: bool) -> Dataset:
        if not self.task.inputs and isinstance(at, int):
            return Dataset({self.task.count or "row": np.zeros((at, 0))}, {})
        return read(self.task, at, columns, observed=observed)

    def _notes(self, dataset: Dataset) -> list[str]:
        notes = self.ranges.outside(dataset.arrays)
        for note in notes:
            warnings.warn(note, OutOfRangeWarning, stacklevel=3)
        return notes

    def _draw(self, datasets: Sequence[Dataset], draws: int, seed: int) -> Drawn:
        """Draws for each dataset; datasets padded to equal shapes share one batched call."""
        if draws < 1:
            raise DataError(f"draws: expected at least 1, got {draws}")
        keys = jr.split(jr.key(seed), len(datasets))
        found: dict[int, Drawn] = {}
        for rows, places in self.shapes(datasets).items():
            stacked = jax.tree.map(lambda *a: np.stack(a), *(self._batch(datasets[i]) for i in places))
            size = min(max(1, WORK // rows), draws)
            drawn = _drawn(self.method, stacked, keys[np.array(places)], draws, size)
            found |= {i: Drawn(*(a[j] for a in drawn)) for j, i in enumerate(places)}
        return Drawn(*(np.stack([np.asarray(found[i][k]) for i in range(len(datasets))]) for k in range(4)))

    def shapes(self, datasets: Sequence[Dataset]) -> dict[int, list[int]]:
        """Places of the datasets by the number of rows that they are padded to."""
        found: dict[int, list[int]] = {}
        for place, dataset in enumerate(datasets):
            found.setdefault(self._batch(dataset).mask.shape[0], []).append(place)
        return found

    # Other guide code.

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Runs as a NumPyro guide of the model: takes the model's arguments, samples its latents.

        The weights are the parameter `amortppl_weights`, so `SVI` fine-tunes them.
        """
        import inspect

        self._refuse_local("guide")
        bound = inspect.signature(self.task.model).bind(*args, **kwargs).arguments
        data = {n: jnp.asarray(bound[n]) for n in self.task.arguments if bound.get(n) is not None}
        missing = [n for n in self.task.arguments if n not in data]
        if missing:
            raise DataError(f"guide: the model's argument {missing[0]!r} is needed, because the guide reads the data")
        data = {n: v[None] if self.task.block else v for n, v in data.items()}
        learned, rest = eqx.partition(self.method, eqx.is_inexact_array)
        flat, restore = ravel_pytree(learned)
        method = eqx.combine(restore(numpyro.param("amortppl_weights", flat)), rest)
        rows = next(iter(data.values())).shape[0]
        posterior = method.readout(final(method, Batch(data, jnp.ones(rows, bool))))
        vector = numpyro.sample(
            "amortppl_latent", Unconstrained(posterior, self.task.latents.size), infer={"is_auxiliary": True}
        )
        sites, jacobians = self.task.sites_at(vector, data)
        for name, value in sites.items():
            batch = self.task.sites[name].density_shape  # as in the model, where plates may make some axes independent
            density = jnp.broadcast_to(-jacobians[name] / math.prod(batch), batch)
            numpyro.sample(name, dist.Delta(value, log_density=density, event_dim=jnp.ndim(value) - len(batch)))

    def start_nuts(
        self, data: Any, chains: int = 4, seed: int = 0, *, columns: Columns | None = None, **options: Any
    ) -> Any:
        """A NUTS kernel and initial parameters that start from this dataset's posterior.

        Args:
            data: the dataset.
            chains: how many chains; each starts at a draw from the guide.
            seed: of the draws.
            columns: for DataFrames, the columns of each argument.
            options: further options of `numpyro.infer.NUTS`.

        Returns:
            (kernel, init_params), for `MCMC(kernel, ...).run(key, ..., init_params=init_params)`.
            The mass matrix is the guide's covariance, so a short warm-up is enough.
        """
        from numpyro.infer import NUTS

        self._refuse_local("start_nuts")
        drawn = self._draw([read(self.task, data, columns)], max(1000, chains), seed)
        vectors = jnp.asarray(drawn.vectors[0])
        starts = jax.vmap(self.task.latents.unflatten)(vectors[:chains])
        covariance = jnp.cov(vectors, rowvar=False).reshape(self.task.latents.size, -1)
        kernel = NUTS(self.task.model, dense_mass=True, inverse_mass_matrix=covariance, **options)
        return kernel, jax.tree.map(lambda a: a[0], starts) if chains == 1 else starts

    def _refuse_local(self, what: str) -> None:
        """The guide knows no density of latents that every row has of its own."""
        if self.task.local:
            raise DataError(
                f"{what}: {self.task.name} has latents with one value per row ({', '.join(self.task.local.sites)}). "
                "This guide integrates them out; NumPyro would have to sample them. Use `infer` and `local`"
            )

    def to_pyro(self) -> Any:
        """This guide for Pyro's SVI, Importance, Predictive and NUTS: see `amortppl.pyro.guide.PyroGuide`."""
        from amortppl.pyro.extra import require

        require()
        from amortppl.pyro.guide import PyroGuide

        return PyroGuide(self)

    def training(self) -> dict[str, Any]:
        """How it was trained, in a few numbers."""
        kept = ("steps", "tasks", "seconds", "device", "unusable", "skipped")
        losses = {"loss": self.record.losses, "held_out": self.record.held_out}
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self.spec).items()}
        ranges = {"rows": self.ranges.rows}
        return {
            "method": type(self.spec).__name__,
            "options": options,
            **ranges,
            **{k: getattr(self.record, k) for k in kept},
            **losses,
        }

    def save(self, path: str | Path) -> Path:
        """Writes the guide to a folder: guide.json, weights.safetensors, certificate.json."""
        from amortppl.storage import save

        return save(self, path)


class Unconstrained(dist.Distribution):
    """A readout as a NumPyro distribution over the latents' unconstrained vector."""

    support = dist.constraints.real_vector

    def __init__(self, posterior: Any, size: int) -> None:
        self.posterior = posterior
        super().__init__((), (size,), validate_args=False)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, by the reparameterised sampler of the readout."""
        vectors = self.posterior.sample(key, int(np.prod(sample_shape)))[0]
        return vectors.reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Array) -> Array:
        """Log density of unconstrained vectors."""
        flat = value.reshape(-1, *self.event_shape)
        return jax.vmap(self.posterior.log_prob)(flat).reshape(value.shape[:-1])


def _per_row(guide: Guide, dataset: Dataset) -> int:
    return sum(int(np.prod(dataset.arrays[a].shape[1:])) for a in guide.task.observed)


_step = eqx.filter_jit(lambda method, value, batch: method.step(value, batch))
_readout = eqx.filter_jit(lambda method, value: method.readout(value))


@eqx.filter_jit
def _drawn(method: Method, batches: Batch, keys: Array, draws: int, size: int) -> Drawn:
    def one(batch: Batch, key: Array) -> Drawn:
        state = final(method, batch)
        vectors, log_guide = method.readout(state).sample(key, draws)
        if not method.task.has_density:
            return Drawn(vectors, log_guide, jnp.full(draws, jnp.nan), method.impression(state))
        joint = jax.lax.map(lambda v: method.task.log_joint(v, batch), vectors, batch_size=size)
        return Drawn(vectors, log_guide, joint, method.impression(state))

    return jax.vmap(one)(batches, keys)


@eqx.filter_jit
def _pointwise(method: Method, vectors: Array, data: dict[str, Array], size: int) -> Array:
    return jax.lax.map(lambda v: method.task.log_densities(v, data)[1], jnp.asarray(vectors), batch_size=size)


@eqx.filter_jit
def _predicted(
    method: Method, vectors: Array, inputs: dict[str, Array], keys: Array, rows: int, size: int
) -> dict[str, Array]:
    return jax.lax.map(
        lambda a: method.task.predict(a[1], a[0], inputs, rows), (jnp.asarray(vectors), keys), batch_size=size
    )


@eqx.filter_jit
def _constrained(method: Method, vectors: Array, data: dict[str, Array]) -> dict[str, Array]:
    return jax.vmap(lambda v: method.task.constrain(v, data))(jnp.asarray(vectors))


@eqx.filter_jit
def _log_prob(method: Method, batch: Batch, values: dict[str, Array]) -> Array:
    posterior = method.readout(final(method, batch))

    def one(sites: dict[str, Array]) -> Array:
        vector = method.task.unconstrain(sites, batch.data)
        return posterior.log_prob(vector) - sum(method.task.sites_at(vector, batch.data)[1].values())

    return jax.vmap(one)(values)
