"""What every task is: a family of datasets that can be simulated."""

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import ceil
from typing import Any

from jaxtyping import Array, Bool, PRNGKeyArray
from numpyro.distributions.constraints import Constraint

from amortppl.errors import ModelError
from amortppl.runtime.batched_map import batched_map
from amortppl.simulators.stored import Stored
from amortppl.task.batch import Draw
from amortppl.task.grouped_model import has_further_lines
from amortppl.task.groups import Grouping, Layout
from amortppl.task.inputs import Source
from amortppl.task.judged import LogDensityJudge
from amortppl.task.of_latents import OfLatents
from amortppl.task.plain import Plain
from amortppl.task.quadrature import NODES
from amortppl.task.several_groups import SeveralGroups
from amortppl.task.tracing import Site


class AbstractTask(OfLatents, ABC):
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
        several: groupings of the rows, where there are two or more; None elsewhere.
        ordered: whether the rows are the steps of one series, in their order.
        memory: of a series, how many rows before it the density of a row depends on; None where
            these are many, or where it depends on its place (`amortppl.task.ordered`).
        sequential: whether the model runs through its rows one after another (`scan`).
        stamps: the name of the time stamps in data of a series; empty where they have none.
        has_prior: whether `log_prior` can be evaluated.

    Example, y_i ~ N(theta, 1) with theta ~ N(0, 1), in which the unconstrained vector is theta:
        >>> import amortppl as ap, jax.numpy as jnp, jax.random as jr
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
        >>> task.has_further_lines(data), task.independent, task.evaluations(data)
        (False, True, 1)
        >>> task.learning(jr.key(0), 3).data["y"].shape  # as `simulate`, but for stored simulations
        (3,)
        >>> task.simulate_many(jr.split(jr.key(0), 5), 3, at_once=2).data["y"].shape
        (5, 3)
        >>> "numpyro.sample" in task.source_code()
        True
    """

    name: str
    model: Callable[..., Any]
    sources: dict[str, Source]
    constants: dict[str, Any]
    inputs: list[str]
    candidates: list[str]
    by_name: list[str]
    count: str | None
    sites: dict[str, Site]
    tied: set[str]
    row_axes: dict[str, int]
    plain: Plain
    judge: LogDensityJudge
    native: Any
    probe_rows: tuple[int, int]
    fixed: list[str]
    rows_like: dict[str, Any]
    has_density: bool
    likelihood: bool
    dims: dict[str, list[str]]
    coords: dict[str, list[Any]]
    grouping: Grouping | None = None
    several: SeveralGroups | None = None
    supports: Mapping[str, Constraint] | None = None
    stored: Stored | None = None
    compiled: bool = True
    ordered: bool = False
    stamps: str = ""
    may_be_ordered: bool = False
    has_prior: bool = True

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
    def independent(self) -> bool:
        """Whether rows are independent given the latents, so that they may be cut and shuffled."""
        return self.row_free and not self.tied and not self.ordered

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
        usual = self.local and self.local.size in NODES
        nodes = self.local.nodes**self.local.size / NODES[1] if usual else 1.0
        return data[self.grouping.name].shape[-1] * max(1, ceil(nodes))

    def evaluations(self, data: Mapping[str, Any]) -> int:
        """Densities of the user's rows that the log density of a row of these arrays takes at once:
        its places, each at all nodes of a quadrature where rows have latents of their own.
        """
        if not self.local:
            return self.places(data)
        if self.local.in_turn:
            return self.local.evaluations
        each = data[self.grouping.name].shape[-1] if self.grouping else 1
        return each * self.local.nodes ** min(self.local.size, len(NODES))

    def has_further_lines(self, data: Mapping[str, Any]) -> bool:
        """Whether groups of these arrays have several lines (`amortppl.task.grouped_model`)."""
        return bool(self.grouping) and has_further_lines(data[self.groups.name])

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

    def source_code(self) -> str:
        """The model as it was written, or its name where the source is not at hand."""
        try:
            return inspect.getsource(inspect.unwrap(self.model))
        except (OSError, TypeError):
            return self.name
