"""What a task is told of censoring, read with its program."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.task.censoring import Censoring
from amortppl.task.censoring_indicators import Indicator, expect_indicators, read_indicators
from amortppl.task.groups import Grouping
from amortppl.task.inputs import Source, source
from amortppl.task.program import Program

PROBE = 7
"""Rows with which a model is run to see what its indicators do."""


def uncensored(limits: Source, lead: int, indicator: Indicator | None = None) -> Source:
    """An indicator that says of every row that it is not censored.

    Args:
        limits: of its rows, one for each or several visits.
        lead: axes of rows among theirs.
        indicator: what its values mean, where that has been found.
    """
    value = 1 - indicator.censored if indicator else 0

    def rows(key: PRNGKeyArray, n: int) -> Array:
        shape = jnp.shape(limits.rows(key, n))
        return jnp.full(shape[:lead], value, jnp.int32)

    return Source(rows)


def limits_as_sources(
    model: str, given: Mapping[str, Any], inputs: Mapping[str, Any], block: bool
) -> dict[str, Source]:
    """Where limits come from, by indicator.

    Raises:
        ModelError: an indicator is described as an input too.
    """
    for name in given:
        if name in inputs:
            raise ModelError(
                f"{model}: {name!r} is in `inputs` and in `censoring`. Which rows are censored "
                "follows from outcomes and limits; take it out of `inputs`"
            )
    return {n: source(n, g, block) for n, g in given.items()}


def unmarked(limits: Mapping[str, Source], block: bool) -> dict[str, Source]:
    """Indicators as inputs that mark no row, before it is known what their values mean."""
    return {n: uncensored(s, 1 + block) for n, s in limits.items()}


def read_censoring(
    program: Program, limits: Mapping[str, Source], grouping: Grouping | None
) -> Censoring:
    """How a program's observations become censored; its indicators then say that none is.

    Args:
        program: runs the model on inputs, indicators among them.
        limits: by indicator, of the user's rows.
        grouping: how rows lie in groups.

    Raises:
        ModelError: an argument marks no censored rows.
    """
    rows = 1 if program.block else PROBE
    own = {n: grouping.spread(s) if grouping else s for n, s in limits.items()}
    inputs = program.input_rows(jr.key(0), rows)

    def run(key: Array, values: Mapping[str, Array]) -> Any:
        return program.trace(key, program.input_rows(key, rows) | values, rows)

    indicators = read_indicators(program.name, run, {n: inputs[n] for n in limits})
    expect_indicators(program.name, indicators, limits)
    lead = 1 + bool(program.block or grouping)
    for name, indicator in indicators.items():
        program.sources[name] = uncensored(own[name], lead, indicator)
    return Censoring(indicators, own)
