"""Groups as data: a model of rows in groups, read as a task whose rows are the groups.

A group with its own latents is a row whose likelihood has these integrated out,

    log p(y_g | x_g, theta) = log int prod_{i in g} p(y_i | x_i, theta, u_g) p(u_g | theta) du_g,

so that theta is what all groups share, and the number of groups is as free as that of rows.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import ModelError, nearest, quoted
from amortppl.task.grouped_model import Arguments, indices, run_by_group
from amortppl.task.inputs import Source, draw_rows, row_range, source
from amortppl.task.program import cannot_simulate
from amortppl.task.tracing import LastSite, Site, abstract_sites

PROBES = ((5, 3), (7, 3), (5, 4))
"""Groups, and rows of each, with which a model is traced to see what grows with either."""


class Layout(NamedTuple):
    """Which arguments hold which rows of a group; hashable.

    Attributes:
        index: the argument that says which rows count, (G, R).
        whole: arguments with one value a group, (G, ...); the others have (G, R, ...).
        observed: the observations among all.
    """

    index: str
    whole: tuple[str, ...]
    observed: tuple[str, ...]


class Grouping:
    """How a model's rows lie in groups, and the model and the inputs whose rows are these.

    Attributes:
        name: the argument with the index of each row's group, and what the groups are called.
        groups: fewest and most groups of simulated data.
        rows: fewest and most rows of a group in these.
        user_model: the model of rows, as it was given.
        arguments: what its arguments are.
        model: the model whose rows are groups.
        sources: where its inputs come from.
        sites: those of the model of rows that have a value for each row.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        name: str,
        inputs: Mapping[str, Any],
        groups: Mapping[str, tuple[int, int] | int],
        rows: tuple[int, int] | int | None,
        by_group: Mapping[str, Sequence[str]],
        constants: Mapping[str, Any],
    ) -> None:
        self.model_name, self.user_model = name, model
        self.name = self._one_name(groups, by_group)
        self.groups = _range(name, f"groups[{self.name!r}]", groups[self.name])
        self.rows = _range(name, "rows", rows)
        self.arguments = self._read_arguments(inputs, by_group.get(self.name, ()), constants)
        own = {n: source(n, g, block=False) for n, g in inputs.items()}
        self.sites = self._sites_of_rows(own, dict(constants))
        whole = {*self.arguments.whole} & {*own}
        self.sources = {n: s if n in whole else self.spread(s) for n, s in own.items()}
        self.sources[self.name] = Source(self._rows_that_count)
        self.model = run_by_group(model, self.arguments, self.sites)

    def _one_name(self, groups: Mapping[str, Any], by_group: Mapping[str, Any]) -> str:
        [name] = groups
        for other in by_group:
            if other != name:
                raise ModelError(
                    f"{self.model_name}: by_group names {other!r}, and the groups are {name!r}"
                )
        return name

    def _read_arguments(
        self, inputs: Mapping[str, Any], whole: Sequence[str], constants: Mapping[str, Any]
    ) -> Arguments:
        """What each argument of the model is.

        Raises:
            ModelError: the index or the number of groups is not among them, or one is neither
                described nor known.
        """
        name, number = self.name, f"n_{self.name}"
        parameters = inspect.signature(self.user_model).parameters
        for wanted in (name, number, *whole):
            if wanted not in parameters:
                raise ModelError(self._lacks(wanted, parameters))
        for given in (name, number):
            if given in inputs or given in constants:
                raise ModelError(
                    f"{self.model_name}: {given!r} is described twice; with groups="
                    f"{{{name!r}: ...}} it comes from the data's labels. Take it out of `inputs` "
                    "and `constants`"
                )
        described = {*inputs, *constants, name, number}
        empty = inspect.Parameter.empty
        free = [
            n
            for n, p in parameters.items()
            if n not in described and p.default is empty and p.kind != p.VAR_KEYWORD
        ]
        if len(free) > 1 or (free and free[0] in whole):
            raise ModelError(
                f"{self.model_name}: nothing describes the arguments {quoted(free)}: name each in "
                "`inputs` or `constants`, or give it the default None if it is an observation"
            )
        return Arguments(name, number, free[0] if free else None, tuple(whole), tuple(constants))

    def _lacks(self, wanted: str, parameters: Mapping[str, Any]) -> str:
        what = {
            self.name: "the index 0, 1, ... of each row's group",
            f"n_{self.name}": f"the number of groups, for numpyro.plate({self.name!r}, ...)",
        }.get(wanted, "named in by_group")
        cure = nearest(wanted, [n for n in parameters if n != self.name])
        if wanted == f"n_{self.name}" and not cure:
            counted = f"a number counted from {self.name!r}, as {self.name}.max() + 1 is"
            cure = f". Write {wanted!r} as an argument of the model in place of {counted}"
        return (
            f"{self.model_name}: the model has no argument {wanted!r} ({what}); it has "
            f"{quoted(parameters)}{cure}"
        )

    def _sites_of_rows(
        self, own: Mapping[str, Source], constants: dict[str, Any]
    ) -> frozenset[str]:
        """The sample sites with a value for each row, from runs with other numbers of groups and
        of rows.

        Raises:
            ModelError: the model fails, or the rows are not the first axis of one.
        """
        runs = [self._traced(own, constants, probe) for probe in PROBES]
        totals = tuple(groups * rows for groups, rows in PROBES)
        sites = set()
        for name, site in runs[0].items():
            if site.kind != "sample" or site.observed or any(name not in r for r in runs):
                continue
            others = [r[name] for r in runs]
            axes = _axes(others, "shape", totals)
            if not axes:
                continue
            if axes[0] or _axes(others, "density_shape", totals)[:1] != [0]:
                raise ModelError(self._unlike_rows(site))
            sites.add(name)
        return frozenset(sites)

    def _unlike_rows(self, site: Site) -> str:
        groups, rows = PROBES[0]
        return (
            f"{self.model_name}: the site {site.name!r} has shape {site.shape} and a log density "
            f"of shape {site.density_shape} at {groups * rows} rows in {groups} groups. With "
            "groups, rows must be the first axis of both: put the site in a plate over the rows, "
            "and that plate leftmost"
        )

    def _traced(
        self, own: Mapping[str, Source], constants: dict[str, Any], probe: tuple[int, int]
    ) -> dict[str, Site]:
        groups, rows = probe

        def arguments(key: Array) -> dict[str, Any]:
            whole = {n: s for n, s in own.items() if n in self.arguments.whole}
            each = {n: s for n, s in own.items() if n not in whole}
            drawn = draw_rows(whole, key, groups) | draw_rows(each, key, groups * rows)
            return constants | drawn | indices(self.arguments, probe)

        last = LastSite()
        try:
            with last:
                return abstract_sites(self.user_model, arguments)
        except ModelError as error:
            raise ModelError(f"{self.model_name}: {error}") from error
        except NotImplementedError as error:
            raise cannot_simulate(self.model_name, last) from error
        except Exception as error:
            raise ModelError(
                f"{self.model_name}: the model fails when it simulates {groups} groups of {rows} "
                f"rows, with {self.name!r} the index of each row's group and {groups} for "
                f"{self.arguments.number!r}: {type(error).__name__}: {error}. Inputs with one "
                f"value a group are named in by_group={{{self.name!r}: [...]}}"
            ) from error

    def spread(self, own: Source) -> Source:
        """Where the rows of groups come from, (G, R, ...), from those of rows."""
        most = self.rows[1]

        def rows(key: PRNGKeyArray, groups: int) -> Array:
            drawn = own.rows(key, groups * most)
            return drawn.reshape(groups, most, *drawn.shape[1:])

        return Source(rows, own.joined)

    def _rows_that_count(self, key: PRNGKeyArray, groups: int) -> Float[Array, "G R"]:
        """Which of R rows each group has: sizes differ little in some datasets, much in others.

        With c and s uniform on (0, 1) for a dataset, and v_g for each group, the size is
        low (high / low)^t with t = c + s (v_g - 1/2) cut to (0, 1).
        """
        low, high = self.rows
        centre, spread = jr.uniform(jr.fold_in(key, 0), (2,))
        each = jr.uniform(jr.fold_in(key, 1), (groups,)) - 0.5
        level = jnp.clip(centre + spread * each, 0.0, 1.0 - 1e-6)
        sizes = jnp.floor(low * ((high + 1) / low) ** level)
        return (jnp.arange(high) < sizes[:, None]).astype(jnp.float32)

    def layout(self, observed: Sequence[str]) -> Layout:
        """Which arguments hold which rows of a group."""
        return Layout(self.name, self.arguments.whole, tuple(observed))

    def refuse_latents_of_rows(self, names: Sequence[str]) -> None:
        """Refuses latents with a value for each row inside the groups.

        Raises:
            ModelError: naming them.
        """
        of_rows = [n for n in names if n in self.sites]
        if of_rows:
            raise ModelError(
                f"{self.model_name}: the latent {quoted(of_rows)} has a value for each row, and "
                f"the rows lie in groups of {self.name!r}; latents of rows within groups are not "
                "integrated out. Write their integral into the model (as a negative binomial for "
                "a Poisson with gamma effects, or a normal with the variances added), or leave "
                "`groups` out and fix the number of groups"
            )

    def refuse_hidden(self, summed: bool, twins: Mapping[str, str]) -> None:
        """Refuses what is not done within groups: discrete latents that are summed out, and
        observations of which rows are missing.

        Raises:
            ModelError: there is such.
        """
        if summed or twins:
            what = f"missing rows of {quoted(twins)}" if twins else "discrete latents"
            cure = "leave such rows out of the data" if twins else "sum them out in the model"
            raise ModelError(
                f"{self.model_name}: {what} in groups of {self.name!r} are not supported; {cure}, "
                "or leave `groups` out and fix the number of groups"
            )


def _range(model: str, argument: str, given: Any) -> tuple[int, int]:
    try:
        whole = row_range(given)
    except (ModelError, TypeError, ValueError):
        whole = None
    if whole is None:
        raise ModelError(
            f"{model}: {argument}: expected the fewest and the most, 1 <= fewest <= most, or one "
            f"number; got {given!r}"
        )
    return whole


def _axes(sites: Sequence[Site], shape: str, sizes: Sequence[int]) -> list[int]:
    """The axes of a site that have these sizes in its runs."""
    columns = itertools.zip_longest(*(getattr(s, shape) for s in sites))
    return [axis for axis, each in enumerate(columns) if each == tuple(sizes)]


def refuse_forgotten_number(
    model: str, count: str | None, inputs: Mapping[str, Any], key: PRNGKeyArray
) -> None:
    """Refuses to take the number of groups for that of rows.

    Args:
        count: the argument that nothing describes.
        inputs: where each input comes from.

    Raises:
        ModelError: its name says that it counts the values of an input of whole numbers.
    """
    for name in inputs:
        named = {f"{word}_{name}{s}" for word in ("n", "num") for s in ("", "s", "es")}
        if count not in named:
            continue
        like = jax.eval_shape(lambda k, n=name: inputs[n].rows(k, 2), key)
        if jnp.issubdtype(like.dtype, jnp.integer):
            raise ModelError(
                f"{model}: nothing says what {count!r} is, and it seems to count the groups of "
                f"{name!r}. Where their number is fixed, give it: constants={{{count!r}: ...}}. "
                f"Where it is free, take {name!r} out of `inputs` and say "
                f"groups={{{name!r}: (fewest, most)}} (the argument is then called 'n_{name}')"
            )
