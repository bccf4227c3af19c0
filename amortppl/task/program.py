"""A model and what feeds each of its arguments: its signature, and how it is run."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpyro.handlers as handlers
from jaxtyping import Array, PRNGKeyArray

from amortppl.errors import ModelError, nearest, quoted
from amortppl.task.censoring import Censoring
from amortppl.task.free_numbers import free_numbers
from amortppl.task.inputs import draw_rows, source
from amortppl.task.joint_gaussian import chain_rule_density
from amortppl.task.tracing import LastSite, Site, abstract_sites

_UNSAMPLED = "its distribution has no sampler (as ImproperUniform), and tasks are simulated"


_FACTOR = (
    ". Where a numpyro.factor is the log likelihood of an observation, say how that is simulated: "
    "simulate={'y': lambda key, latents, inputs: ...}, as in docs/factors.md"
)


def cannot_simulate(model: str, last: LastSite) -> ModelError:
    """The error where the distribution of the last site of a run has no sampler."""
    return ModelError(
        f"{model}: the site {last.name!r} ~ {last.family} cannot be simulated, and "
        "tasks are simulated from the model; give it a distribution that can be sampled. "
        "A flat prior comes closest to Normal(0, 10 s), on positive numbers to "
        "HalfNormal(10 s), with s the size of a value that would be no surprise"
    )


class Program:
    """A NumPyro model that can be run on data. What it is made of is described under `Task`.

    Attributes:
        sources: where the rows of each input come from, in the order of the model's arguments.
        candidates: arguments that default to None, the observations.
        count: the argument that gets the number of rows, if there is one.
        by_name: sites that the data feed by name.
        censoring: how simulated observations become censored; None where they do not.
    """

    censoring: Censoring | None = None

    def __init__(
        self,
        model: Callable[..., Any],
        name: str,
        inputs: Mapping[str, Any],
        constants: Mapping[str, Any],
        observed: Sequence[str],
        block: bool,
    ) -> None:
        self.model, self.name, self.constants, self.block = model, name, dict(constants), block
        parameters = inspect.signature(model).parameters
        if any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters.values()):
            raise ModelError(
                f"{name}: arguments must have names; *args and positional-only arguments cannot be "
                f"fed"
            )
        named = {n: p for n, p in parameters.items() if p.kind != p.VAR_KEYWORD}
        for given in (*inputs, *constants):
            if given not in named:
                raise ModelError(
                    f"{name}: {given!r} is not an argument of the model (it has "
                    f"{quoted(named)}){nearest(given, named)}"
                )
        free = [n for n in named if n not in inputs and n not in constants]
        counts = [n for n in free if named[n].default is inspect.Parameter.empty]
        if len(counts) > 1 or (counts and block):
            raise ModelError(
                f"{name}: nothing describes the arguments {quoted(counts)}: name each in `inputs` "
                f"or `constants`, "
                "or give it the default None if it is an observation"
            )
        self.candidates = [n for n in free if named[n].default is None]
        self.count = counts[0] if counts else None
        self.by_name = list(observed)
        self.sources = {n: source(n, inputs[n], block) for n in named if n in inputs}

    def input_rows(self, key: PRNGKeyArray, rows: int) -> dict[str, Array]:
        """Rows of every input."""
        return draw_rows(self.sources, key, rows)

    def kwargs(self, data: Mapping[str, Array], rows: int) -> dict[str, Any]:
        """The model's arguments for so many rows of data."""
        given = {k: v[0] if self.block else v for k, v in data.items() if k not in self.by_name}
        return {**self.constants, **given, **({self.count: rows} if self.count else {})}

    def sites(self, rows: int) -> dict[str, Site]:
        """The sites of a simulation in order, from a run on abstract values."""
        last = LastSite()
        try:
            with last:
                return abstract_sites(
                    self.model, lambda key: self.kwargs(self.input_rows(key, rows), rows)
                )
        except ModelError:
            raise
        except NotImplementedError as error:
            raise cannot_simulate(self.name, last) from error
        except Exception as error:
            given = (
                f" ({self.count!r}, which `inputs` does not describe, was given the number of rows)"
            )
            raise ModelError(
                f"{self.name}: the model fails when it simulates {rows} rows with "
                f"{quoted(self.candidates)} "
                f"absent{given if self.count else ''},{last.describe()}: "
                f"{type(error).__name__}: {str(error) or _UNSAMPLED}"
                f"{_FACTOR if 'NoneType' in str(error) else ''}"
            ) from error

    def trace(
        self,
        key: PRNGKeyArray,
        data: Mapping[str, Array],
        rows: int | None = None,
        place: Callable[[dict], Array | None] | None = None,
    ) -> dict[str, dict]:
        """The sites of one run on data, where `place` may give a site its value and `key` samples
        the others.
        """
        rows = rows or next(iter(data.values())).shape[0]
        fed = {n: data[n][0] if self.block else data[n] for n in self.by_name if n in data}
        model = handlers.condition(self.model, data=fed) if fed else self.model
        model = handlers.substitute(model, substitute_fn=place) if place else model
        with handlers.block():  # a guide runs this inside the user's own handlers
            return handlers.trace(handlers.seed(model, key)).get_trace(**self.kwargs(data, rows))

    def trace_at(
        self,
        key: PRNGKeyArray,
        values: Mapping[str, Array],
        data: Mapping[str, Array],
        rows: int | None = None,
    ) -> dict[str, dict]:
        """The sites of one run with latents placed by their unconstrained values."""

        def place(site: dict) -> Array | None:
            is_latent = site["type"] == "sample" and site["name"] in values
            return free_numbers(site["fn"].support)(values[site["name"]]) if is_latent else None

        return self.trace(key, data, rows, place)


def unconstrain(site: dict) -> Array:
    """The value of a traced latent mapped from its support to the real line."""
    return free_numbers(site["fn"].support).inv(site["value"])


def log_jacobian(site: dict, u: Array) -> Array:
    """log |d theta / d u| of each event of a traced latent theta, whose unconstrained value is
    u.
    """
    return free_numbers(site["fn"].support).log_abs_det_jacobian(u, site["value"])


def log_density(site: dict, tied: bool = False) -> Array:
    """The log density of a traced site, times the scale that handlers gave it; of tied rows, by the
    chain rule.
    """
    density = chain_rule_density(site) if tied else site["fn"].log_prob(site["value"])
    return density if site["scale"] is None else site["scale"] * density
