"""The plain model's log prior and log likelihood of each row, with whatever every row has of its
own integrated and summed out: what the engine's log joint is judged by.

    log p(y_i | x_i, theta) = log int sum_z p(y_i, z, u | x_i, theta) du

All by NumPy in 64 bits from `amortppl.task.plain`: local latents u on a lattice
(`amortppl.task.lattice`), discrete latents z by tables (`amortppl.task.factor_tables`).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.errors import quoted
from amortppl.runtime.numpy_evaluation import Traced, evaluate
from amortppl.task.abstract import AbstractTask
from amortppl.task.discrete_layout import Layout, read_layout
from amortppl.task.enumeration import Marginal
from amortppl.task.factor_tables import Factors, Tables, find_tables, log_sum
from amortppl.task.judged import Judged
from amortppl.task.lattice import integrate, nodes
from amortppl.task.parity import Point, plain_sites, simulated, split_sites
from amortppl.task.path_judge import paths_out

ROWS, AT_ONCE = 3, 16
"""Rows, where their number is free, and configurations in a run that looks for tables."""

Data = dict[str, np.ndarray]


class Judge:
    """The plain model of a task with what each row has of its own integrated and summed out.

    Attributes:
        reason: why its density cannot be computed; empty where it can.
        tables: of discrete latents; None where there are none.
        width: evaluations that a row takes at once.
    """

    def __init__(self, task: AbstractTask) -> None:
        self.task, self.size = task, task.local.size if task.local else 0
        self.size = 0 if self.size and task.local.in_turn else self.size
        self.reason = ""
        self.tables: Tables | None = None
        self._programs: dict[tuple, Traced] = {}
        if not task.has_density:
            self.reason = "it has no log density"
        elif isinstance(task.model, Marginal):
            self._find_tables()
        states = self.tables.states[:, :, None] if self.tables is not None else np.zeros((1, 0, 1))
        self._states = states
        self.width = len(states) * (len(nodes(self.size, 0).at) if self.size else 1)

    def _find_tables(self) -> None:
        task = self.task
        rows = ROWS if task.row_free else task.probe_rows[0]
        point = jax.tree.map(jnp.asarray, evaluate(lambda k: simulated(task, k, rows), jr.key(17)))
        layout = read_layout(task, point.data)
        if isinstance(layout, str):
            self.reason = layout
            return
        self.layout, sizes = layout, layout.sizes
        count = 1 if task.block else rows
        self.tables = find_tables(_factors_at(task, layout, point, count), sizes, count)
        if self.tables is None:
            self.reason = (
                f"the discrete {quoted(layout.hidden)} depend on one another, or rows on those of "
                "others, in more ways than can be summed out here"
            )

    def log_densities(self, vectors: np.ndarray, data: Data) -> Judged:
        """Densities at unconstrained vectors (K, P), each with rows of its own.

        Args:
            data: by argument, (K, B, ...).

        Raises:
            ValueError: there is a reason why not.
        """
        if self.reason:
            raise ValueError(self.reason)
        pieces, rows = np.shape(next(iter(data.values())))[:2]
        if self.task.local and self.task.local.in_turn:
            return paths_out(self.task, vectors, data)
        if not self.size and self.tables is None:
            prior, own = self._program(data)(vectors, data)
            return Judged(prior, own, np.zeros(own.shape))
        priors: list[np.ndarray] = []

        def heights(at: np.ndarray) -> np.ndarray:
            local = np.moveaxis(at.reshape(len(at), pieces, rows, self.size), 0, 1)
            prior, likelihoods = self._in_chunks(vectors, data, local)
            priors.append(prior)
            return np.moveaxis(likelihoods, 1, 0).reshape(len(at), -1)

        if self.size:
            value, error = integrate(heights, pieces * rows, self.size)
        else:
            value = heights(np.zeros((1, pieces * rows, 0)))[0]
            error = np.zeros(value.shape)
        return Judged(priors[0], value.reshape(pieces, rows), error.reshape(pieces, rows))

    def _in_chunks(
        self, vectors: np.ndarray, data: Data, local: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(Log priors (K,), densities (K, S, B)) at local numbers (K, S, B, L), by as many nodes as
        one program takes.
        """
        pieces, count, rows = local.shape[:3]
        most = len(nodes(self.size, 0).at) if self.size else 1
        program, chunks, prior = self._program(data), [], np.zeros(pieces)
        for start in range(0, count, most):
            part = local[:, start : start + most]
            short = most - part.shape[1]
            filled = np.pad(part, [(0, 0), (0, short), (0, 0), (0, 0)], "edge") if short else part
            prior, factors = program(vectors, data, filled, self._values(rows))
            chunks.append(self._summed(factors)[:, : part.shape[1]])
        return prior, np.concatenate(chunks, 1)

    def _values(self, rows: int) -> dict[str, np.ndarray]:
        if self.tables is None:
            return {}
        states = self._states
        return self.layout.values(np.broadcast_to(states, (*states.shape[:2], rows)))

    def _summed(self, factors: np.ndarray) -> np.ndarray:
        """Factors (K, S, C, F, B) with discrete latents summed out, (K, S, B)."""
        if self.tables is None:
            return factors[:, :, 0].sum(2)
        pieces, nodes_, runs, each, rows = factors.shape
        flat = np.moveaxis(factors, (2, 3), (0, 1)).reshape(runs, each, -1)
        return log_sum(self.tables, flat).reshape(pieces, nodes_, rows)

    def _program(self, data: Data) -> Traced:
        """The program for pieces of rows of these shapes, traced once."""
        shapes = {n: np.shape(v) for n, v in data.items()}
        lines = self.task.has_further_lines(data)
        key = (lines, *sorted(shapes.items()))
        program = self._programs.get(key)
        if program is None:
            if len(self._programs) >= 128:
                self._programs.clear()
            program = self._programs[key] = self._trace(shapes, lines)
        return program

    def _trace(self, shapes: Mapping[str, tuple[int, ...]], lines: bool) -> Traced:
        task, like = self.task, self.task.rows_like
        data = {n: jax.ShapeDtypeStruct(s, _type(like[n])) for n, s in shapes.items()}
        if lines:  # of groups: the index says so by its type
            index = task.groups.name
            data[index] = jax.ShapeDtypeStruct(shapes[index], np.int32)
        pieces, rows = next(iter(shapes.values()))[:2]
        vectors = jax.ShapeDtypeStruct((pieces, task.latents.size), jnp.float32)
        if not self.size and self.tables is None:
            return Traced(jax.vmap(lambda v, d: _direct(task, v, d)), vectors, data)
        most = len(nodes(self.size, 0).at) if self.size else 1
        local = jax.ShapeDtypeStruct((pieces, most, rows, self.size), jnp.float32)
        return Traced(partial(_all_parts, self), vectors, data, local, self._values(rows))


def _type(like: Any) -> np.dtype:
    return np.dtype(np.float32) if np.dtype(like.dtype).kind == "b" else np.dtype(like.dtype)


def _direct(task: AbstractTask, vector: Array, data: dict[str, Array]) -> tuple[Array, Array]:
    """Log prior and log likelihood of each row, where nothing is integrated out."""
    return _by_row(split_sites(task, plain_sites(task, Point(vector, {}, data))), data)


def _by_row(sites: tuple[dict, dict], data: dict[str, Array]) -> tuple[Array, Array]:
    prior, rows = sites
    count = next(iter(data.values())).shape[0]
    each = [jnp.broadcast_to(r if r.ndim else r / count, (count,)) for r in rows.values()]
    return sum(map(jnp.sum, prior.values()), jnp.zeros(())), sum(each, jnp.zeros(count))


def _all_parts(
    judge: Judge, vectors: Array, data: dict[str, Array], local: Array, states: dict[str, Array]
) -> tuple[Array, Array]:
    """Log priors (K,), and factors (K, S, C, F, B) at local numbers (K, S, B, L) and C runs."""

    def one(vector: Array, rows: dict[str, Array], u: Array) -> tuple[Array, Array]:
        if judge.tables is None:
            sites = judge.task.local.unflatten(u)
            sites_of_rows = plain_sites(judge.task, Point(vector, sites, rows))
            prior, each = _by_row(split_sites(judge.task, sites_of_rows), rows)
            return prior, each[None, None]
        sites = judge.task.local.unflatten(u) if judge.size else {}
        parts = partial(_parts, judge.task, judge.layout, Point(vector, sites, rows))
        prior, factors = jax.vmap(parts)(states)
        return prior[0], factors

    at_nodes = jax.vmap(one, (None, None, 0))
    prior, factors = jax.vmap(at_nodes)(vectors, data, local)
    return prior[:, 0], factors


def _parts(
    task: AbstractTask, layout: Layout, point: Point, states: dict[str, Array]
) -> tuple[Array, Array]:
    """Log prior, and the factors (F, B) at one configuration of the discrete latents."""
    shared = task.latents.unflatten(point.vector)
    density = task.plain.density(shared | point.local, point.data, states)
    local = {n: density.sites[n] + density.jacobians[n] for n in point.local}
    return density.total(list(shared)), layout.factors(density.sites | local)


def _factors_at(task: AbstractTask, layout: Layout, point: Point, rows: int) -> Factors:
    """The factors of simulated rows as a function of states, by one program."""
    like = layout.values(np.zeros((AT_ONCE, len(layout.sizes), rows), int))
    traced = Traced(jax.vmap(lambda z: _parts(task, layout, point, z)[1]), like)

    def factors(states: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(states), AT_ONCE):
            part = states[start : start + AT_ONCE]
            filled = np.pad(part, [(0, AT_ONCE - len(part)), (0, 0), (0, 0)], "edge")
            parts.append(traced(layout.values(filled))[: len(part)])
        return np.concatenate(parts)

    return factors
