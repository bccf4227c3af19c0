"""A model with its observations given, beside the same model when it simulates them: what one has
and not the other.

Tasks are simulated by the one and scored by the other, so whatever makes a difference to either
must be in both.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.handlers as handlers

from amortppl.errors import ModelError, quoted
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.censoring_indicators import refuse_censored
from amortppl.task.program import Program, log_density
from amortppl.task.tracing import Site

Sites = Mapping[str, Site]


class Given(NamedTuple):
    """A model's sample sites when its observations are given.

    Attributes:
        latents, data: the names of those that are latents, and of those that are observed.
        scaled: of those whose log density a handler multiplies.
    """

    latents: list[str]
    data: list[str]
    scaled: list[str]


def given(program: Program, sites: Sites, observed: Mapping[str, str], rows: int) -> Given:
    """What a model is made of when its observations are given, from a run on abstract values.

    Args:
        sites: of a simulation.
        observed: the site that each observation feeds.

    Raises:
        ModelError: the model fails with them, a plate takes some of its rows at random, or an
            observation is censored in a way that is not simulated.
    """
    groups = Given([], [], [])

    def run(key: jax.Array) -> None:
        for name, site in _traced(program, sites, observed, rows, key).items():
            if site["type"] == "plate":
                _refuse_subsampling(program, name, *site["args"])
            elif site["type"] == "sample":
                (groups.data if site["is_observed"] else groups.latents).append(name)
                simulated = program.censoring and program.censoring.covers(name)
                if site["is_observed"] and not simulated:
                    refuse_censored(program.name, name, site["fn"])
                scale = site["scale"]
                if scale is not None and not (
                    np.ndim(scale) == 0 and isinstance(scale, int | float) and scale == 1
                ):
                    groups.scaled.append(name)
                _evaluate_density(program, name, site)

    try:
        jax.eval_shape(run, jr.key(0))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{program.name}: the model fails when {quoted(observed)} are given {rows} rows that "
            f"it simulated: {type(error).__name__}: {error}"
        ) from error
    return groups


def _evaluate_density(program: Program, name: str, site: Any) -> None:
    """Evaluates the log density of a traced site, where its distribution has one.

    Raises:
        ModelError: it fails, or its shape does not fit the scale around it.
    """
    try:
        log_density(site)
    except NotImplementedError:
        return
    except Exception as error:
        raise ModelError(
            f"{program.name}: the log density of the site {name!r} (a value of shape "
            f"{jnp.shape(site['value'])}, scale of shape {np.shape(site['scale'])}) fails: "
            f"{type(error).__name__}: {error}. It is likely that the shapes of its parameters, of "
            "a mask or of a scale do not broadcast with its value"
        ) from error


def _traced(
    program: Program, sites: Sites, observed: Mapping[str, str], rows: int, key: jax.Array
) -> Any:
    values = {a: jnp.zeros(sites[n].shape, sites[n].dtype) for a, n in observed.items()}
    fed = {n: values.pop(n) for n in program.by_name}
    model = handlers.condition(program.model, data=fed) if fed else program.model
    arguments = program.kwargs(program.input_rows(key, rows), rows) | values
    return handlers.trace(handlers.seed(model, key)).get_trace(**arguments)


def _refuse_subsampling(program: Program, name: str, size: int, some: int | None) -> None:
    if some not in (None, size):
        raise ModelError(
            f"{program.name}: the plate {name!r} takes {some} of its {size} rows at random "
            f"(subsample_size), which "
            "multiplies their log likelihood, but tasks are simulated with these rows alone. Leave "
            "subsample_size out "
            "and pass all rows; amortppl.batches reads a large dataset in mini-batches"
        )


def only_simulated(
    program: Program, sites: Sites, groups: Given, targets: list[str], rows: int
) -> set[str]:
    """Sites of a simulation that are not there when the observations are given, and make no
    difference.

    Raises:
        ModelError: a latent is there in one of both alone, and matters.
    """
    samples = {n for n, s in sites.items() if s.kind == "sample"}
    new = [n for n in groups.latents if n not in samples]
    if new:
        raise ModelError(
            f"{program.name}: the latent {quoted(new)} is there only when the observations are "
            f"given, so tasks are "
            "simulated without it. Sample it in both cases"
        )
    gone = samples - {*groups.latents, *groups.data}
    lost = [n for n in sites if n in gone and not sites[n].observed]
    if lost and _matter(program, lost, targets, rows):
        raise ModelError(
            f"{program.name}: the latent {quoted(lost)} is there only when the observations are "
            f"simulated, and they "
            "depend on it; the log density of given observations leaves it out. Sample it in both "
            "cases"
        )
    return gone


def _matter(program: Program, lost: list[str], targets: list[str], rows: int) -> bool:
    """Whether what a simulation observes changes with these latents, all others and the random
    numbers the same.
    """

    def simulations(key: jax.Array) -> Any:
        inputs = program.input_rows(key, rows)
        first, other = (_values(program.trace(jr.fold_in(key, i), inputs, rows)) for i in (0, 1))
        others = {n: v for n, v in first.items() if n not in (*lost, *targets)}
        return [
            _again(program, key, inputs, rows, others | {n: v[n] for n in lost})
            for v in (first, other)
        ]

    one, two = evaluate(simulations, jr.key(5))
    return any(not np.array_equal(one[n], two[n], equal_nan=True) for n in targets)


def _values(trace: Mapping[str, Any]) -> dict[str, Any]:
    return {
        n: s["value"] for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]
    }


def _again(
    program: Program, key: Any, inputs: Any, rows: int, latents: Mapping[str, Any]
) -> dict[str, Any]:
    return _values(program.trace(key, inputs, rows, lambda site: latents.get(site["name"])))
