"""A task known by simulations alone: what `Task.from_simulator` and `Task.from_simulations` make.

    theta, D ~ p(theta) p(D | theta),    min over phi   E_(theta, D)  -log q_phi(theta | D)

There is no density of the data, and the latents may be some of those that the simulator has: the
expectation over (theta, D) is then one over the others too, so that they are integrated out.
Cranmer, Brehmer and Louppe 2020, "The frontier of simulation-based inference", arXiv 1911.01429.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from numpyro.distributions import biject_to
from numpyro.distributions.constraints import Constraint

from amortppl.errors import ModelError
from amortppl.simulators.stored import CHECK, LEARN, Stored
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Draw
from amortppl.task.density import ConditionalDensity
from amortppl.task.inputs import row_range
from amortppl.task.latents import Latents
from amortppl.task.local_latents import Local
from amortppl.task.program import Program
from amortppl.task.tracing import Site

SAMPLE, SAMPLE_BYTES = 1 << 16, 1 << 24
"""Stored simulations of one part that compiled programs hold: at most so many, of so many bytes."""

Values = Mapping[str, Array]


class Source(NamedTuple):
    """Where simulations come from, and what they are of.

    Attributes:
        supports: of each latent.
        shapes: of each latent's value.
        data: of each observation in one simulation; rows first where there are rows.
        draw: `(key, rows) -> (latents, data)`, compiled; None for stored simulations.
        stored: simulations that were made; None where they are drawn anew.
        predict: `(key, latents, rows) -> data`; None where there is nothing to predict by.
        why_not: why there is not.
        compiled: whether `predict` is written in JAX.
        simulator: what to call the source of.
        log_prior: log density of the latents by name; None where it is not known.
        draw_prior: `key -> latents`; None where there is no prior.
    """

    supports: Mapping[str, Constraint]
    shapes: Mapping[str, tuple[int, ...]]
    data: Mapping[str, tuple[int, ...]]
    draw: Callable[[PRNGKeyArray, int], tuple[Values, Values]] | None = None
    stored: Stored | None = None
    predict: Callable[[PRNGKeyArray, Values, int], Values] | None = None
    why_not: str = ""
    compiled: bool = True
    simulator: Any = None
    log_prior: Callable[[Values], Array] | None = None
    draw_prior: Callable[[PRNGKeyArray], Values] | None = None


class SimulationTask(AbstractTask):
    """Used as any other task, but for what needs a density: importance weights and k-hat, the
    ladder, log likelihoods, NUTS.

    Args:
        source: simulations.
        rows: smallest and largest number of rows, or None for one block.
        name: what to call it.
        ordered: whether the rows are the steps of one series; a name says where data have their
            time stamps.
        dims, coords: names of axes by latent or observation, and labels along them.
    """

    def __init__(
        self,
        source: Source,
        rows: tuple[int, int] | int | None,
        *,
        name: str,
        ordered: bool | str = False,
        dims: Mapping[str, Sequence[str]] | None = None,
        coords: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self.name, self.source, self.rows = name, source, row_range(rows)
        self.ordered, self.stamps = bool(ordered), ordered if isinstance(ordered, str) else ""
        self.has_prior = source.log_prior is not None
        self.stored, self.compiled = source.stored, source.compiled and source.predict is not None
        _expect_names(name, source)
        _expect_rows(name, source, self.rows)
        self.model = _no_model(name, source)
        self.inputs, self.sources, self.constants, self.deterministic = [], {}, {}, {}
        self.observed = {n: n for n in source.data}
        self.dims = {k: list(v) for k, v in (dims or {}).items()}
        self.coords = {k: list(v) for k, v in (coords or {}).items()}
        self.by_name, self.fixed, self.candidates, self.tied = [], [], list(self.observed), set()
        self.count, self.twins, self.likelihood, self.has_density = None, {}, False, False
        self.program = Program(lambda **_: self.model(), name, {}, {}, (), block=self.block)
        self.transforms = {n: biject_to(s) for n, s in source.supports.items()}
        shapes = {n: tuple(source.shapes[n]) for n in source.supports}
        free = {n: tuple(t.inverse_shape(shapes[n])) for n, t in self.transforms.items()}
        self.latents = Latents(shapes, free)
        self.row_axes = dict.fromkeys(self.observed, 0)
        self.density = ConditionalDensity(
            self.program, self.latents, self.observed, self.tied, self.row_axes
        )
        self.local = Local(self.density, [], {}, {}, 1)
        self.sites = {n: self._latent_site(n) for n in self.latents.names}
        self.sites |= {n: self._data_site(n) for n in self.observed}
        fewest = (self.rows or (1, 1))[0]
        self.samples = {p: self._sample(p) for p in (LEARN, CHECK)} if self.stored else {}
        self.rows_like = jax.eval_shape(lambda k: self.simulate(k, fewest), jr.key(0)).data

    @property
    def row_free(self) -> bool:
        """Whether rows may be added and left out: only the observations have their size."""
        return not self.block and self.rows[0] != self.rows[1]

    def simulate(self, key: PRNGKeyArray, rows: int) -> Draw:
        """A simulation that nothing is learned from, of `rows` rows. Jit- and vmap-able.

        Raises:
            ModelError: stored simulations have fewer rows.
        """
        return self._one(key, rows, CHECK)

    def learning(self, key: PRNGKeyArray, rows: int) -> Draw:
        """A simulation that may be learned from."""
        return self._one(key, rows, LEARN)

    def simulate_many(self, keys: PRNGKeyArray, rows: int, at_once: int) -> Draw:
        """As many simulations as there are keys, none of the stored ones twice before all were
        taken.
        """
        if self.stored is None:
            return super().simulate_many(keys, rows, at_once)
        count = len(next(iter(self.samples[CHECK][0].values())))
        order = jr.permutation(keys[0], count)
        places = order[jnp.arange(keys.shape[0]) % count]
        return jax.vmap(lambda place: self._taken(place, rows, CHECK))(places)

    def supported(self, data: Mapping[str, Array]) -> dict[str, Bool[Array, "..."]]:
        """All values: no model says which the observations can take."""
        return {n: jnp.ones(data[n].shape, bool) for n in self.observed}

    def constrain(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> dict[str, Array]:
        """Unconstrained vector -> latents."""
        return {n: self.transforms[n](u) for n, u in self.latents.unflatten(vector).items()}

    def sites_at(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Latents by name, and each one's log |d theta / d u| summed over its entries."""
        values, free = self.constrain(vector, data), self.latents.unflatten(vector)
        return values, {
            n: jnp.sum(self.transforms[n].log_abs_det_jacobian(u, values[n]))
            for n, u in free.items()
        }

    def log_prior(self, vector: Float[Array, " P"]) -> Array:
        """Log prior density of the unconstrained vector.

        Raises:
            ModelError: it is not known, as of simulations from a table.
        """
        if self.source.log_prior is None:
            raise ModelError(
                f"{self.name}: the density of its prior is not known; it is where "
                "`Task.from_simulator` has the prior, and all its latents are targets"
            )
        values, log_jacobians = self.sites_at(vector, {})
        return self.source.log_prior(values) + sum(log_jacobians.values())

    def unconstrain(
        self, values: Mapping[str, Array], data: Mapping[str, Array]
    ) -> Float[Array, " P"]:
        """Latents by name -> unconstrained vector, each through its own support."""
        return self.vector(values)

    def vector(self, values: Mapping[str, Array]) -> Float[Array, " P"]:
        """The unconstrained vector of latents by name."""
        return self.latents.flatten({n: t.inv(values[n]) for n, t in self.transforms.items()})

    def predict(
        self, key: PRNGKeyArray, vector: Float[Array, " P"], inputs: Mapping[str, Array], rows: int
    ) -> dict:
        """Runs the simulator at the latents.

        Raises:
            ModelError: there is no simulator, or it has latents that this task leaves out.
        """
        if self.source.predict is None:
            raise ModelError(f"{self.name}: nothing can be predicted: {self.source.why_not}")
        values = self.constrain(vector, {})
        data = self.source.predict(key, values, rows)
        return {n: v[None] for n, v in data.items()} if self.block else dict(data)

    def source_code(self) -> str:
        """The simulator as it was written, or its name."""
        return super().source_code()

    def _one(self, key: PRNGKeyArray, rows: int, part: int) -> Draw:
        if self.source.draw is None:
            count = len(next(iter(self.samples[part][0].values())))
            return self._taken(jr.randint(key, (), 0, count), rows, part)
        values, data = self.source.draw(key, rows)
        return self.as_draw(values, data, rows)

    def _taken(self, place: Array, rows: int, part: int) -> Draw:
        latents, data = self.samples[part]
        return self.as_draw(
            {n: v[place] for n, v in latents.items()}, {n: v[place] for n, v in data.items()}, rows
        )

    def as_draw(self, values: Values, data: Values, rows: int) -> Draw:
        """One simulation as a draw of so many rows, the first ones."""
        if self.block:
            return Draw(self.vector(values), {n: v[None] for n, v in data.items()})
        there = next(iter(data.values())).shape[0]
        if there < rows:
            raise ModelError(
                f"{self.name}: {rows} rows are asked for, and its simulations have {there}. "
                "Methods that predict rows need some beyond the largest dataset: give `rows` a "
                "smaller largest number, or simulate more rows"
            )
        return Draw(self.vector(values), {n: v[:rows] for n, v in data.items()})

    def _sample(self, part: int) -> tuple[dict[str, Array], dict[str, Array]]:
        """The simulations of one part that compiled programs hold, as many as there are place
        for.
        """
        assert self.stored is not None
        places = self.stored.places(part)
        most = max(64, min(SAMPLE, SAMPLE_BYTES // max(self.stored.bytes_each, 1)))
        if len(places) > most:
            places = np.sort(np.random.default_rng(0).choice(places, most, replace=False))
        latents, data = self.stored.take(places)
        targets = {n: latents[n] for n in self.source.supports}
        return jax.tree.map(jnp.asarray, (targets, data))

    def _latent_site(self, name: str) -> Site:
        support, shape = self.source.supports[name], self.latents.shapes[name]
        free = self.latents.unconstrained[name]
        kind = type(support).__name__.strip("_")
        return Site(name, "sample", "simulated", kind, False, False, shape, "float32", (), free, {})

    def _data_site(self, name: str) -> Site:
        shape = tuple(self.source.data[name])
        row = shape if self.block else shape[1:]
        return Site(name, "sample", "simulated", "Real", False, False, row, "float32", row, (), {})


def _expect_names(task: str, source: Source) -> None:
    both = source.supports.keys() & source.data.keys()
    if both:
        raise ModelError(
            f"{task}: {sorted(both)[0]!r} is a latent and an observation; give the simulator's "
            "output another name, by a dict"
        )


def _expect_rows(task: str, source: Source, rows: tuple[int, int] | None) -> None:
    if rows is None:
        return
    for name, shape in source.data.items():
        if not shape or shape[0] < rows[1]:
            raise ModelError(
                f"{task}: a simulation of {name!r} has shape {tuple(shape)}, and with rows={rows} "
                f"its first axis should hold at least {rows[1]} rows. Say rows=None where the data "
                "are one block"
            )


def _no_model(task: str, source: Source) -> Callable[..., Any]:
    """Stands where a task keeps its model, for what would run one."""

    def model(*args: Any, **kwargs: Any) -> None:
        raise ModelError(
            f"{task}: it is known by its simulations alone, and this needs the density of a model; "
            "what remains are posterior draws, diagnose, and the distance of a dataset from the "
            "simulated ones"
        )

    if callable(source.simulator):
        model.__wrapped__ = source.simulator
    return model
