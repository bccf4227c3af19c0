"""The state of each query in the iterated implicit regime, and the spaces in which it can be mixed.

    yhat^{i+1} = yhat^i + gate (proposal - yhat^i)

in one of three spaces: `logits`, the unnormalised parameters of the predictive distribution (a
location and the logarithm of a scale, logits of classes); `probabilities`, the same through exp and
normalised; `hidden`, a vector that a head reads. Mittal et al. 2025, "Iterative Amortized
Inference", arXiv 2510.11471, Eq. 8.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import GuideError
from amortppl.networks.mlp import mlp
from amortppl.predictive.binned import Bars
from amortppl.predictive.categorical import Categories
from amortppl.predictive.components import Component
from amortppl.predictive.head import Family, Head, family
from amortppl.predictive.preprocessing import Reader
from amortppl.task.abstract import AbstractTask

SPACES = ("logits", "probabilities", "hidden", "attention")
"""Kinds of state; of the last see `amortppl.predictive.attention_update`."""

WIDEST = 12.0
"""Largest logarithm of a number in `probabilities`."""


class QueryState(NamedTuple):
    """Q queries, and how far each has come.

    Attributes:
        queries: their inputs by argument, (Q, ...).
        value: in the space that was chosen.
        weight: evidence seen, in units of the prior's: 1 before any row.
        rows: how many rows were seen.
    """

    queries: dict[str, Array]
    value: Float[Array, "Q Z"]
    weight: Float[Array, " Q"]
    rows: Float[Array, ""]


def no_queries(task: AbstractTask) -> dict[str, Array]:
    """The inputs of no query of a task."""
    like = task.rows_like
    none = {n: jnp.zeros((0, *like[n].shape[1:]), like[n].dtype) for n in task.inputs}
    return none or {"row": jnp.zeros((0, 0))}


def expect_queries(state: QueryState, query: dict[str, Array]) -> None:
    """Refuses another number of queries than a state belongs to.

    Raises:
        GuideError: with both numbers.
    """
    asked, own = next(iter(query.values())).shape[0], state.value.shape[0]
    if asked != own:
        raise GuideError(
            f"query: this state of IterativeImplicit belongs to {own} queries and is asked at "
            f"{asked}; queries cannot change between steps. Begin with init(queries)"
        )


def union(states: Sequence[QueryState], first: QueryState) -> QueryState:
    """The state given the rows of several states, which are disjoint, for the same queries.

        weight = 1 + sum_i (weight_i - 1),    value = v_0 + sum_i weight_i (v_i - v_0) / weight

    Under a Gaussian predictive with independent evidence this is exact for means; scales and logits
    become averages.

    Args:
        states: one or more.
        first: the state of the same queries before any row.

    Raises:
        GuideError: the states belong to other queries.
    """
    expect_same_queries(states, first)
    weight = 1.0 + jnp.sum(jnp.stack([s.weight - 1.0 for s in states]), 0)
    moves = jnp.stack([s.weight[:, None] * (s.value - first.value) for s in states])
    value = first.value + jnp.sum(moves, 0) / weight[:, None]
    rows = jnp.sum(jnp.stack([s.rows for s in states]))
    return QueryState(first.queries, value, weight, rows)


def expect_same_queries(states: Sequence[QueryState], first: QueryState) -> None:
    """Refuses states of other queries than the first one's.

    Raises:
        GuideError: row by row, an input is another.
    """
    for state in states:
        pairs = [(state.queries[n], others) for n, others in first.queries.items()]
        if not all(a.shape == b.shape and bool(jnp.all(a == b)) for a, b in pairs):
            raise GuideError(
                "combine: the states belong to other queries; begin each with the same "
                "guide.init(at=...)"
            )


class Coefficients(eqx.Module):
    """A slice of the state as coefficients of one component, corrected by the components before
    it.
    """

    start: int = eqx.field(static=True)
    stop: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    correction: eqx.nn.MLP | None

    def __call__(self, seen: Float[Array, " E"]) -> Float[Array, " K"]:
        """State and earlier components of one query -> coefficients."""
        own = seen[self.start : self.stop]
        return own if self.correction is None else own + self.correction(seen)


class LogitsHead(Head):
    """The state is the coefficients themselves."""

    def __init__(self, reader: Reader, hidden: int, key: PRNGKeyArray) -> None:
        ends = np.cumsum([family(c).coefficients for c in reader.parts]).tolist()
        self.factors = []
        for i, end in enumerate(ends):
            size, before = ends[i] - (ends[i - 1] if i else 0), sum(reader.sizes[:i])
            start = jnp.zeros(size)
            correct = (
                mlp(ends[-1] + before, size, hidden, 1, jr.fold_in(key, i), start=start)
                if before
                else None
            )
            self.factors.append(Coefficients(end - size, end, ends[-1], correct))


class Space(eqx.Module):
    """Between coefficients and the numbers in which states are mixed, one component after
    another.
    """

    name: str = eqx.field(static=True)
    kinds: tuple[Component, ...] = eqx.field(static=True)

    def enter(self, logits: Float[Array, " Z"]) -> Float[Array, " Z"]:
        """Coefficients -> the space."""
        if self.name != "probabilities":
            return logits
        return jnp.concatenate([_probable(family(c), part) for c, part in self._parts(logits)])

    def leave(self, value: Float[Array, " Z"]) -> Float[Array, " Z"]:
        """The space -> coefficients."""
        if self.name != "probabilities":
            return value
        return jnp.concatenate([_unnormalised(family(c), part) for c, part in self._parts(value)])

    def _parts(self, value: Float[Array, " Z"]) -> list[tuple[Component, Array]]:
        ends = np.cumsum([family(c).coefficients for c in self.kinds])
        return list(zip(self.kinds, jnp.split(value, ends[:-1]), strict=True))


def initial(reader: Reader) -> Float[Array, " Z"]:
    """Coefficients of a standard distribution of every component."""
    return jnp.concatenate([family(c).initial() for c in reader.parts])


def places(reader: Reader, offset: int = 0) -> Float[Array, "V Z"]:
    """Which coefficient is the place (a mean, in the reader's units) of which number of `Reader.y`.

    Args:
        offset: 1 for the logarithm of the scale instead.
    """
    sizes = [family(c).coefficients for c in reader.parts]
    table, row, column = np.zeros((sum(reader.sizes), sum(sizes)), np.float32), 0, 0
    for component, seen, size in zip(reader.parts, reader.sizes, sizes, strict=True):
        if not component.discrete:
            table[row, column + offset] = 1.0
        row, column = row + seen, column + size
    return jnp.asarray(table)


def reaches(reader: Reader, near: float) -> Float[Array, " Z"]:
    """`near` for the coefficients of continuous components, 1 for the others."""
    sizes = [(family(c).coefficients, 1.0 if c.discrete else near) for c in reader.parts]
    return jnp.concatenate([jnp.full(size, reach) for size, reach in sizes])


def _probable(kind: Family, logits: Array) -> Array:
    if isinstance(kind, Categories):
        return jax.nn.softmax(logits)
    rest = jnp.exp(jnp.clip(logits, -WIDEST, WIDEST))
    return rest.at[0].set(logits[0]) if isinstance(kind, Bars) else rest


def _unnormalised(kind: Family, value: Array) -> Array:
    logs = jnp.log(jnp.maximum(value, np.exp(-WIDEST)))
    return logs.at[0].set(value[0]) if isinstance(kind, Bars) else logs
