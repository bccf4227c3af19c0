"""A task of a model: a NumPyro or Pyro program, the distribution of its inputs, and a range of
sizes.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import jax.random as jr
from jaxtyping import Array, Bool, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.pyro import described, from_pyro, is_pyro
from amortppl.runtime.compilation import without_collection
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Draw
from amortppl.task.censoring import with_two_ends
from amortppl.task.density import ConditionalDensity
from amortppl.task.description import describe_task
from amortppl.task.enumeration import Marginal
from amortppl.task.factor_check import check_factor_scores
from amortppl.task.factors import Simulator, with_simulated
from amortppl.task.group_check import check_groups
from amortppl.task.grouped_model import model_of_rows
from amortppl.task.groups import Grouping, refuse_forgotten_number
from amortppl.task.handlers import name_arguments
from amortppl.task.inputs import row_range
from amortppl.task.judge import Judge
from amortppl.task.local_latents import Local
from amortppl.task.marginal_check import check_marginal
from amortppl.task.native import Native, check_native
from amortppl.task.obs_mask_check import refuse_used_fill
from amortppl.task.ordered import expect_derivatives, expect_series, find_memory, is_sequential
from amortppl.task.parity import check
from amortppl.task.paths import checked
from amortppl.task.plain import Plain
from amortppl.task.program import Program
from amortppl.task.read_censoring import limits_as_sources, read_censoring, unmarked
from amortppl.task.several_groups import SeveralGroups
from amortppl.task.simulation_check import check_simulations
from amortppl.task.sites import ModelSites
from amortppl.task.supports import supported
from amortppl.task.without_models import TasksWithoutModels

ROWS, ROWS_OF_A_GROUP = (8, 512), (1, 32)
"""Fewest and most rows that are simulated by default: of a dataset, and of each of its groups."""


class Task(TasksWithoutModels, AbstractTask):
    """A NumPyro model read as a distribution over datasets.

    A dataset D = {(x_i, y_i), i = 1..N} is drawn by N ~ log-uniform on `rows`, x_i ~ `inputs`,
    theta ~ prior, y_i ~ p(y | x_i, theta). Latents of which every row has its own are integrated
    out of the row's likelihood (`amortppl.task.local_latents`): by quadrature up to three numbers a
    row, by Laplace's approximation with a warning beyond. theta is what all rows share. Rows may
    also be tied to one another by a Gaussian over all of them, as under a Gaussian process
    (`amortppl.task.joint_gaussian`).

    Args:
        model: a NumPyro or Pyro model. Arguments that default to None are observations,
            sampled when they are absent; arguments with another default are constants; the
            others are inputs. One argument that is none of these gets the number of rows.
        inputs: for each input a numpyro distribution of one row, a callable
            `(key, n) -> array`, or a DataFrame/array whose rows are resampled.
        rows: the smallest and largest number of rows to train for, or one fixed number; None
            when the data are one block of fixed size whose entries are not exchangeable. With
            `groups`, rows of each group.
        groups: `{"school": (4, 500)}`: rows lie in groups, as many as this in simulated datasets.
            The model's argument `school` is the index of each row's group, 0, 1, ..., and its
            argument `n_school` the number of groups. In data `school` holds labels of any type.
            Latents in a plate of `n_school` are integrated out group by group.
            Of several groupings the numbers are the most that a dataset may have.
        by_group: `{"school": ["size"]}`: arguments with one value for each group. Of several
            groupings, `{"room": ["school"]}`: every room lies in one school, and the number of
            rooms is that in a school.
        constants: values of arguments that are the same in every dataset.
        censoring: `{"censored": dist.Uniform(1, 5)}`: of a model with NumPyro's censored
            distributions, the argument that says which rows are censored, and where the limits of
            rows come from, as of `inputs` (docs/censored.md).
        simulate: `{"y": lambda key, latents, inputs: ...}`: how an observation is simulated whose
            log density is a `numpyro.factor`, one number a row (docs/factors.md).
        observed: sites that the data feed by name, for models without an argument for them
            (as with `numpyro.handlers.condition`).
        dims: for a site or an argument, names of its axes (rows and plates name themselves).
        coords: labels along named axes.
        likelihood: False for a simulator whose density is missing or of no use to gradients;
            methods then learn from data alone. Found by itself when an observed site's
            distribution has no `log_prob`.
        ordered: whether the rows are the steps of one series, each given those before it; by
            default found: they are where the density of an observation depends on earlier ones
            and on no later row. A name says where data have their time stamps, which must rise.
        name: what to call it; by default the model's name.

    Raises:
        ModelError: no latent (unless rows are tied), no observed site, a discrete latent, a latent
            for each row that other rows depend on, control flow on a latent, or an argument that
            nothing describes.

    Example:
        >>> import amortppl as ap, numpyro, numpyro.distributions as dist
        >>> def slope(x, y=None):
        ...     b = numpyro.sample("b", dist.Normal(0, 1))
        ...     with numpyro.plate("row", x.shape[0]):
        ...         numpyro.sample("y", dist.Normal(b * x, 1), obs=y)
        >>> task = ap.Task(slope, inputs={"x": dist.Normal(0, 1)}, rows=(4, 8))
        >>> task.latents.names, task.row_free
        (['b'], True)
        >>> draw = task.simulate(jr.key(0), 6)
        >>> draw.latents.shape, draw.data["y"].shape
        ((1,), (6,))
        >>> bool(task.supported(draw.data)["y"].all())
        True
        >>> def schools(school, n_school, y=None):
        ...     mean = numpyro.sample("mean", dist.Normal(0, 1))
        ...     with numpyro.plate("schools", n_school):
        ...         effect = numpyro.sample("effect", dist.Normal(mean, 1))
        ...     with numpyro.plate("row", school.shape[0]):
        ...         numpyro.sample("y", dist.Normal(effect[school], 1), obs=y)
        >>> grouped = ap.Task(schools, groups={"school": (4, 500)}, rows=(1, 4))
        >>> grouped.groups.name, "effect" in grouped.describe()
        ('school', True)
        >>> def episode(key, rows):  # a line through the origin; its first rows are the context
        ...     x = jr.normal(key, (rows,))
        ...     return {"x": x, "y": jr.normal(jr.fold_in(key, 1)) * x}
        >>> real = dist.constraints.real
        >>> ap.Task.from_episodes(episode, ["x"], {"y": real}, rows=(4, 8)).arguments
        ['x', 'y']
    """

    def __init__(
        self,
        model: Callable[..., Any],
        inputs: Mapping[str, Any] | None = None,
        rows: tuple[int, int] | int | None = ROWS,
        *,
        groups: Mapping[str, tuple[int, int] | int] | None = None,
        by_group: Mapping[str, Sequence[str]] | None = None,
        constants: Mapping[str, Any] | None = None,
        censoring: Mapping[str, Any] | None = None,
        simulate: Mapping[str, Simulator] | None = None,
        observed: Sequence[str] = (),
        dims: Mapping[str, Sequence[str]] | None = None,
        coords: Mapping[str, Sequence[Any]] | None = None,
        likelihood: bool = True,
        ordered: bool | str | None = None,
        name: str | None = None,
    ) -> None:
        behind = model_of_rows(model)
        model = name_arguments(model if behind is None else behind.model)
        wrapped = getattr(model, "__wrapped__", model).__class__.__name__
        self.name = name or getattr(model, "__name__", None) or wrapped
        self.dims = {k: list(v) for k, v in (dims or {}).items()}
        self.coords = {k: list(v) for k, v in (coords or {}).items()}
        model = from_pyro(model) if is_pyro(model) else model
        self.simulated_by_user = bool(simulate)
        model = with_simulated(self.name, model, simulate) if simulate else model
        inputs = described(dict(inputs or {}))
        limits = limits_as_sources(self.name, censoring or {}, inputs, rows is None)
        if limits:
            model, inputs = with_two_ends(model), inputs | unmarked(limits, rows is None)
        if by_group and not groups:
            raise ModelError(f"{self.name}: by_group is given without groups")
        if groups and len(groups) > 1:
            self.several = SeveralGroups(self.name, model, groups, by_group or {})
            self.several.expect_free({**inputs, **(constants or {})})
            inputs = inputs | self.several.sources()
            constants, groups = {**(constants or {}), **self.several.constants()}, None
        if groups:
            of_group = ROWS_OF_A_GROUP if rows is ROWS else rows
            of = (inputs, groups, of_group, by_group or {}, constants or {})
            self.grouping = Grouping(model, self.name, *of)
            model, inputs = self.grouping.model, self.grouping.sources
            rows = self.grouping.groups
        self.rows = row_range(rows)
        self.ordered, self.may_be_ordered = bool(ordered), ordered is None and not groups
        self.stamps = ordered if isinstance(ordered, str) else ""
        expect_series(self.name, ordered, self.block, groups)
        program = Program(model, self.name, inputs, constants or {}, observed, self.block)
        if limits:
            program.censoring = read_censoring(program, limits, self.grouping)
        self.censoring = program.censoring
        fed = tuple(program.by_name)
        self.plain = Plain(model, program.constants, program.count, fed, self.block)
        refuse_forgotten_number(self.name, program.count, program.sources, seed_key(0))
        with self.several.explain() if self.several else nullcontext():
            model_sites = self._read(program)
        if self.fixed:
            model_sites.refuse_factors(*self.simulate(jr.key(0), (self.rows or (1, 1))[0]))
        fewest = model_sites.rows[0]
        self.rows_like = jax.eval_shape(lambda k: self.simulate(k, fewest), seed_key(0)).data
        self.has_density = self._has_density()
        if self.local:
            self.local, moved = checked(self, self.local)
            self.ordered = self.ordered or self.local.in_turn
            for site in moved:
                del self.deterministic[site]
        self.likelihood = likelihood and self.has_density
        check_simulations(self)
        self.judge, self.native = Judge(self), Native(self)
        if self.has_density:
            self._expect_the_models_density()

    @without_collection()
    def _read(self, program: Program) -> ModelSites:
        """Finds the model's sites, and keeps what is read from them."""
        model_sites = ModelSites(program, (1, 2) if self.grouping else self.rows)
        self.program, self.probe_rows = program, model_sites.rows
        self.model, self.sources, self.inputs = program.model, program.sources, [*program.sources]
        self.constants, self.candidates = program.constants, program.candidates
        self.by_name, self.count = program.by_name, program.count
        self.observed, self.sites = model_sites.observed, model_sites.sites
        self.latents, self.tied = model_sites.latents, model_sites.tied
        self.row_axes, self.twins = model_sites.row_axes, model_sites.twins
        self.fixed, self.deterministic = model_sites.fixed, model_sites.deterministic
        if self.grouping:
            self.grouping.refuse_latents_of_rows(model_sites.local)
            self.grouping.refuse_hidden(isinstance(program.model, Marginal), model_sites.twins)
        self.density = ConditionalDensity(
            program, self.latents, self.observed, self.tied, self.row_axes, self.twins
        )
        self.local = Local(
            self.density,
            model_sites.local,
            model_sites.first,
            model_sites.second,
            model_sites.rows[0],
        )
        return model_sites

    @without_collection()
    def _expect_the_models_density(self) -> None:
        """Compares the engine's log densities with the plain model's.

        Raises:
            ModelError: they differ.
        """
        if not isinstance(self.model, Marginal):
            check(self, *self.probe_rows)
            refuse_used_fill(self)
        if self.ordered and self.row_free and not self.local:
            expect_derivatives(self)
            self.memory, self.sequential = find_memory(self), is_sequential(self)
        if self.grouping:
            check_groups(self)
        if self.simulated_by_user:
            check_factor_scores(self)
        check_marginal(self)
        check_native(self)

    def describe(self) -> str:
        """The structure that was found, as text: inputs, latents that all rows share, those of each
        row (or group), and observed sites; see docs/tutorials/hierarchy.md.
        """
        return describe_task(self)

    @property
    def row_free(self) -> bool:
        """Whether rows may be added and left out: only the observations have their size."""
        return not self.block and (bool(self.grouping) or self.rows[0] != self.rows[1])

    def simulate(self, key: PRNGKeyArray, rows: int) -> Draw:
        """Draws latents from the prior and `rows` rows of inputs and observations. Jit- and
        vmap-able.

        For a block, `rows` is 1 and every array has a leading axis of 1.
        """
        inputs = self.input_rows(jr.fold_in(key, 0), rows)
        trace = self.program.trace(jr.fold_in(key, 1), inputs, rows)
        data = inputs | self.density.observations(trace)
        return Draw(self.density.vector(trace), self.observe(jr.fold_in(key, 0), data))

    def supported(self, data: Mapping[str, Array]) -> dict[str, Bool[Array, "..."]]:
        """For each observation, which of its values lie in the support of the site it feeds.

        Of a support that depends on a latent, as of Uniform(0, theta), all do: the density decides.
        """
        return supported(self, data)

    @without_collection()
    def _has_density(self) -> bool:
        """Whether every observed site can evaluate its log density."""
        rows = 1 if self.block else self.rows[0]
        try:
            jax.eval_shape(lambda k: self.log_densities(*self.simulate(k, rows)), seed_key(0))
        except NotImplementedError:
            return False
        return True
