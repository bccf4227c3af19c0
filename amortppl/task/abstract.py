"""What every task is: a family of datasets that can be simulated."""

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from numpyro.distributions.constraints import Constraint

from amortppl.errors import ModelError
from amortppl.runtime.batched_map import batched_map
from amortppl.simulators.stored import Stored
from amortppl.task.batch import Batch, Draw
from amortppl.task.density import ConditionalDensity
from amortppl.task.groups import Grouping, Layout
from amortppl.task.inputs import Source
from amortppl.task.judged import LogDensityJudge
from amortppl.task.latents import Latents
from amortppl.task.local_latents import Local
from amortppl.task.obs_mask import blanked, seen
from amortppl.task.plain import Plain
from amortppl.task.program import Program, log_jacobian
from amortppl.task.quadrature import NODES
from amortppl.task.tracing import Site


class AbstractTask(ABC):
    """A distribution over datasets D = {(x_i, y_i), i = 1..N}.

    It has three kinds: `Task`, of a model, `EpisodeTask`, of episodes drawn from data, and
    `SimulationTask`, of a simulator or of simulations.

    Attributes:
        name: what to call it.
        rows: the smallest and largest number of rows; None for one block.
        density: the densities of the model's sites, with every latent given.
        inputs: names of the inputs.
        observed: the site that each observation feeds.
        sites: latents, then observed sites.
        latents: those that all rows share.
        local: those of which every row has its own; false where there are none.
        tied: observed sites whose rows have a joint Gaussian distribution.
        twins: for observed sites of which rows may be missing (`amortppl.task.obs_mask`), the
            sites that fill these.
        row_axes: the axis of the rows in the log density of each observed site.
        plain: the model as its user wrote it; only a task of a model has it.
        judge: its log density, with what every row has of its own integrated and summed out
            (`amortppl.task.judge`); likewise.
        native: a Pyro model's own log density (`amortppl.task.native`); likewise.
        probe_rows: the two numbers of rows with which the model was traced; likewise.
        fixed: sites that are observed even when simulating.
        deterministic: deterministic sites that do not grow with the rows.
        rows_like: shapes and types of the fewest rows.
        has_density: whether every observed site can evaluate its log density.
        likelihood: whether methods use that density.
        supports: of the observations, where there is no model to read them from.
        dims, coords: names of axes by site or argument, and labels along named axes.
        stored: simulations that are there already; None where they are drawn anew.
        compiled: whether `predict` is compiled, and cheap enough for what is not asked for.
        grouping: how rows of data lie in groups, where the groups are what is called rows here;
            None elsewhere.
        ordered: whether the rows are the steps of one series, in their order.

    Example, y_i ~ N(theta, 1) with theta ~ N(0, 1), in which the unconstrained vector is theta:
        >>> import amortppl as ap
        >>> task = ap.model("gaussian_mean", rows=(2, 8))
        >>> isinstance(task, ap.AbstractTask), task.block, task.arguments, len(task.fingerprint)
        (True, False, ['y'], 16)
        >>> theta, data = jnp.zeros(1), {"y": jnp.array([0.0, 2.0])}
        >>> prior, rows = task.log_densities(theta, data)  # -y_i^2 / 2 - log(2 pi) / 2
        >>> round(float(prior), 2), [round(float(r), 2) for r in rows]
        (-0.92, [-0.92, -2.92])
        >>> round(float(task.log_prior(theta)), 2)
        -0.92
        >>> batch = ap.Batch(data, jnp.array([True, False]))
        >>> round(float(task.log_likelihood(theta, batch)), 2)
        -0.92
        >>> round(float(task.log_joint(theta, batch)), 2)
        -1.84
        >>> float(task.constrain(theta + 1.5, data)["mean"])
        1.5
        >>> task.unconstrain({"mean": jnp.array(1.5)}, data).tolist()
        [1.5]
        >>> sites, log_jacobians = task.sites_at(theta, data)
        >>> float(log_jacobians["mean"])
        0.0
        >>> task.predict(jr.key(0), theta, {}, 3)["y"].shape
        (3,)
        >>> sorted(task.trace_at(theta, data))
        ['mean', 'row', 'y']
        >>> task.input_rows(jr.key(0), 3), task.unseen(data)  # it has no inputs and no masks
        ({}, {})
        >>> task.group_layout, task.row_shapes, task.places(data)  # its rows are in no groups
        (None, {'y': ()}, 1)
        >>> task.learning(jr.key(0), 3).data["y"].shape  # as `simulate`, but for stored simulations
        (3,)
        >>> task.simulate_many(jr.split(jr.key(0), 5), 3, at_once=2).data["y"].shape
        (5, 3)
        >>> "numpyro.sample" in task.source_code()
        True
    """

    name: str
    rows: tuple[int, int] | None
    model: Callable[..., Any]
    program: Program
    density: ConditionalDensity
    sources: dict[str, Source]
    constants: dict[str, Any]
    inputs: list[str]
    candidates: list[str]
    by_name: list[str]
    count: str | None
    observed: dict[str, str]
    sites: dict[str, Site]
    latents: Latents
    local: Local
    tied: set[str]
    twins: dict[str, str]
    row_axes: dict[str, int]
    plain: Plain
    judge: LogDensityJudge
    native: Any
    probe_rows: tuple[int, int]
    fixed: list[str]
    deterministic: dict[str, Site]
    rows_like: dict[str, Any]
    has_density: bool
    likelihood: bool
    dims: dict[str, list[str]]
    coords: dict[str, list[Any]]
    grouping: Grouping | None = None
    supports: Mapping[str, Constraint] | None = None
    stored: Stored | None = None
    compiled: bool = True
    ordered: bool = False

    @abstractmethod
    def simulate(self, key: PRNGKeyArray, rows: int) -> Draw:
        """Draws latents and `rows` rows of inputs and observations. Jit- and vmap-able."""

    def learning(self, key: PRNGKeyArray, rows: int) -> Draw:
        """As `simulate`; of stored simulations one that may be learned from, where `simulate` takes
        one of those that are not.
        """
        return self.simulate(key, rows)

    def simulate_many(self, keys: PRNGKeyArray, rows: int, at_once: int) -> Draw:
        """As many simulations as there are keys, with a leading axis.

        Args:
            keys: one for each.
            rows: rows of each.
            at_once: how many are made together, which bounds the memory.
        """
        return batched_map(lambda k: self.simulate(k, rows), keys, at_once)

    @abstractmethod
    def supported(self, data: Mapping[str, Array]) -> dict[str, Bool[Array, "..."]]:
        """For each observation, which of its values lie in its support."""

    @property
    @abstractmethod
    def row_free(self) -> bool:
        """Whether rows may be added and left out."""

    @property
    def block(self) -> bool:
        """Whether the data are one block of fixed size (seen by the engine as one row)."""
        return self.rows is None

    @property
    def groups(self) -> Grouping:
        """How rows lie in groups.

        Raises:
            ModelError: they do not.
        """
        if self.grouping is None:
            raise ModelError(f"{self.name}: its rows do not lie in groups")
        return self.grouping

    @property
    def group_layout(self) -> Layout | None:
        """Which arguments hold which rows of a group; None where rows are not in groups."""
        return self.grouping.layout(tuple(self.observed)) if self.grouping else None

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each argument in one row of data, as its user has it."""
        shapes = {n: tuple(s.shape[1:]) for n, s in self.rows_like.items()}
        if not self.grouping:
            return shapes
        whole = self.grouping.arguments.whole
        return {n: s if n in whole else s[1:] for n, s in shapes.items()}

    def places(self, data: Mapping[str, Any]) -> int:
        """Rows of the user's data in a row of these arrays, which may have leading axes: of groups
        those that they are filled up to, times what their quadrature adds to one number's.
        """
        if not self.grouping:
            return 1
        nodes = NODES.get(self.local.size, 1) ** self.local.size / NODES[1] if self.local else 1.0
        return data[self.grouping.name].shape[-1] * max(1, ceil(nodes))

    @property
    def arguments(self) -> list[str]:
        """Names of the data: inputs, then observations."""
        return [*self.inputs, *self.observed]

    @property
    def fingerprint(self) -> str:
        """A hash of arguments, sites, families, shapes and supports."""
        shapes = {n: s.shape for n, s in self.sites.items()}
        if self.grouping:  # how many places a simulated group has is no part of the model
            inside = self.grouping.sites
            shapes |= {n: (*s[:1], *s[2:]) for n, s in shapes.items() if n in inside}
        sites = {
            n: [s.distribution, s.support, shapes[n], s.dtype]
            for n, s in sorted(self.sites.items())
        }
        layout = [self.inputs, self.observed, sites, self.latents.unconstrained, self.block]
        return sha256(json.dumps(layout).encode()).hexdigest()[:16]

    def input_rows(self, key: PRNGKeyArray, rows: int) -> dict[str, Array]:
        """Rows of every input."""
        return self.program.input_rows(key, rows)

    def source_code(self) -> str:
        """The model as it was written, or its name where the source is not at hand."""
        try:
            return inspect.getsource(inspect.unwrap(self.model))
        except (OSError, TypeError):
            return self.name

    # Densities, which a task of episodes does not have: then its model raises a ModelError.

    def trace_at(
        self,
        vector: Float[Array, " P"],
        data: Mapping[str, Array],
        local: Mapping[str, Array] | None = None,
    ) -> dict[str, dict]:
        """The sites of one run with latents from an unconstrained vector.

        Local latents come, unconstrained by site, from `local` or else from their prior.
        """
        return self.density.trace_at(vector, data, local)

    def unseen(self, data: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """For each observation of which a model leaves out rows, which of its values count, and
        the values with the others replaced.
        """
        trace = self.trace_at(jnp.zeros(self.latents.size), data)
        of_rows = {a: trace[s] for a, s in self.observed.items() if s in self.twins}
        pairs = {a: (seen(site), blanked(site)) for a, site in of_rows.items()}
        return jax.tree.map(lambda v: v[None], pairs) if self.block else pairs

    def log_densities(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[Array, Float[Array, " N"]]:
        """(log prior in unconstrained space, log likelihood of each row).

            log p(theta(u)) + log |d theta / d u|,    log p(y_i | x_i, theta(u)),  i = 1..N

        Args:
            vector: u, the latents' unconstrained vector.
            data: arrays by argument; for a block each with a leading axis of 1, and N = 1.
        """
        if self.local:
            return self.local.log_densities(vector, data)
        return self.density.joint(vector, data, {}, {})

    def log_prior(self, vector: Float[Array, " P"]) -> Array:
        """Log prior density of the unconstrained vector. The model runs on inputs drawn from the
        task's own.
        """
        rows = (self.rows or (1, 1))[0]
        trace = self.program.trace_at(
            jr.key(0), self.latents.unflatten(vector), self.input_rows(jr.key(0), rows), rows
        )
        return self.density.prior(trace, vector)

    def log_likelihood(self, vector: Float[Array, " P"], batch: Batch) -> Array:
        """Log likelihood of the rows that the mask keeps."""
        return jnp.sum(jnp.where(batch.mask, self.log_densities(vector, batch.data)[1], 0.0))

    def log_joint(self, vector: Float[Array, " P"], batch: Batch) -> Array:
        """Log prior plus masked log likelihood, in unconstrained space, in one run of the model."""
        prior, rows = self.log_densities(vector, batch.data)
        return prior + jnp.sum(jnp.where(batch.mask, rows, 0.0))

    def constrain(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> dict[str, Array]:
        """Unconstrained vector -> latents, and deterministic sites that do not grow with the
        rows.
        """
        trace = self.trace_at(vector, data)
        return {n: trace[n]["value"] for n in (*self.latents.names, *self.deterministic)}

    def sites_at(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Latents by name, and each one's log |d theta / d u| summed over its entries."""
        trace, sites = self.trace_at(vector, data), self.latents.unflatten(vector)
        return {n: trace[n]["value"] for n in sites}, {
            n: jnp.sum(log_jacobian(trace[n], u)) for n, u in sites.items()
        }

    def unconstrain(
        self, values: Mapping[str, Array], data: Mapping[str, Array]
    ) -> Float[Array, " P"]:
        """Latents by name -> unconstrained vector, each through its own support."""
        return self.density.vector(
            self.program.trace(jr.key(0), data, place=lambda site: values.get(site["name"]))
        )

    def predict(
        self, key: PRNGKeyArray, vector: Float[Array, " P"], inputs: Mapping[str, Array], rows: int
    ) -> dict:
        """Draws the observations of `rows` rows of inputs given the latents."""
        return self.density.observations(
            self.program.trace_at(key, self.latents.unflatten(vector), inputs, rows)
        )
