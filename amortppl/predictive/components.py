"""Observed sites as scalar components, each of a kind that its support decides."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions import biject_to, constraints

from amortppl.errors import ModelError
from amortppl.task.abstract import AbstractTask

FINITE = 256
"""Most values of a support that is read as classes; a longer one is read as counts."""


@dataclass(frozen=True)
class Component:
    """One number of an observation.

    Attributes:
        argument: the argument that holds it.
        place: where in the argument's flattened row.
        kind: `real`, `above` (from `low` on), `below` (up to `high`), `between`, `count` (from
            `low` on) or `finite`.
        low, high: ends of the support.
    """

    argument: str
    place: int
    kind: str
    low: float = 0.0
    high: float = 0.0

    @property
    def classes(self) -> int:
        """How many values a finite support has."""
        return int(self.high - self.low) + 1

    @property
    def discrete(self) -> bool:
        """Whether its values are whole numbers."""
        return self.kind in ("count", "finite")

    @property
    def transform(self) -> dist.transforms.Transform:
        """From the real line to the support, for a continuous one."""
        supports = {
            "real": constraints.real,
            "above": constraints.greater_than(self.low),
            "below": constraints.less_than(self.high),
            "between": constraints.interval(self.low, self.high),
        }
        return biject_to(supports[self.kind])


def components(task: AbstractTask) -> tuple[Component, ...]:
    """The components of all observations of a row.

    Raises:
        ModelError: the data are one block, or a support has no family.
    """
    if task.block:
        raise ModelError(
            f"{task.name}: its data are one block, which has no rows to predict from others; "
            f"'parametric' serves it"
        )
    found = []
    for argument, support in supports(task).items():
        size = int(np.prod(task.rows_like[argument].shape[1:], dtype=int))
        kind = _kind(task, argument, support)
        found += [Component(argument, place, *kind) for place in range(size)]
    return tuple(found)


def supports(task: AbstractTask) -> dict[str, constraints.Constraint]:
    """The support of every observation, by argument: given with episodes, else said by one run of
    the model.
    """
    if task.supports is not None:
        return dict(task.supports)
    with jax.ensure_compile_time_eval():
        inputs = task.input_rows(jr.key(0), task.rows[0])
        trace = task.program.trace(jr.key(1), inputs, task.rows[0])
        return {a: trace[s]["fn"].support for a, s in task.observed.items()}


def is_classification(task: AbstractTask) -> set[str]:
    """The observations that are classes: whole numbers with both ends known."""
    return {
        n for n, s in supports(task).items() if s.is_discrete and _kind(task, n, s)[0] == "finite"
    }


def _kind(task: AbstractTask, argument: str, support: constraints.Constraint) -> tuple:
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    low, high = (_end(getattr(support, n, None)) for n in ("lower_bound", "upper_bound"))
    if support is constraints.boolean:
        return "finite", 0.0, 1.0
    if support.is_discrete:
        finite = low is not None and high is not None and high - low < FINITE
        return ("finite", low, high) if finite else ("count", low or 0.0)
    if support is constraints.real:
        return ("real",)
    if low is None and high is None:
        raise ModelError(
            f"{task.name}: no predictive family for {argument!r}, whose support is {support}; "
            f"'parametric' serves it"
        )
    return (
        ("between", low, high)
        if None not in (low, high)
        else ("below", 0.0, high)
        if low is None
        else ("above", low)
    )


def _end(bound: Array | float | None) -> float | None:
    """An end that is the same for all rows; None where there is none, or it differs."""
    if bound is None:
        return None
    values = np.unique(np.asarray(bound, np.float64))
    return float(values[0]) if len(values) == 1 and np.isfinite(values[0]) else None


def column(component: Component, data: dict[str, Array]) -> Array:
    """Its values in rows of data, (N,)."""
    flat = data[component.argument]
    return flat.reshape(flat.shape[0], -1)[:, component.place].astype(jnp.float32)
