"""Implicit regime: an in-context predictor p(y* | x*, D) whose context is a memory that adds up.

Rows of D and queries are tokens with a place (from x) and, for rows, a content (from y). In each
layer rows add their keys and values to the layer's least-squares memory, then rows and queries read
it; queries are never written. The memory is of fixed size, so that the context can be any number of
mini-batches, and it is kept, so that further queries cost only their own tokens.

Muller et al. 2022, "Transformers can do Bayesian inference", arXiv 2112.10510; the attention is the
mesa layer of von Oswald et al. 2023, arXiv 2309.05858; Mittal et al. 2025, arXiv 2510.11471
(implicit).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.networks.least_squares import Moments, Solved, solve
from amortppl.networks.mlp import mlp
from amortppl.predictive.head import Head
from amortppl.predictive.predictor import Headed
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

State = tuple[tuple[Moments, ...], Float[Array, ""]]
"""For each layer its memories, heads first; and how many rows were seen."""


class Layer(eqx.Module):
    """Rows and queries look places up in what rows have written."""

    key: eqx.nn.Linear
    value: eqx.nn.Linear
    join: eqx.nn.Linear
    place: eqx.nn.MLP
    content: eqx.nn.MLP
    log_ridge: Float[Array, "H D"]

    def __init__(self, width: int, heads: int, size: int, values: int, key: PRNGKeyArray) -> None:
        keys = jr.split(key, 5)
        self.key = eqx.nn.Linear(width, heads * size, use_bias=True, key=keys[0])
        self.value = eqx.nn.Linear(2 * width, heads * values, use_bias=False, key=keys[1])
        self.join = eqx.nn.Linear(heads * values, width, use_bias=False, key=keys[2])
        read = 2 * heads * values + heads + 1
        self.place = mlp(width + read, width, width, 1, keys[3], start=jnp.zeros(width))
        self.content = mlp(
            2 * width + heads * values, width, width, 1, keys[4], start=jnp.zeros(width)
        )
        self.log_ridge = jnp.zeros((heads, size))

    def write(self, memory: Moments, place: Array, content: Array, mask: Array) -> Moments:
        """Rows added to the memory of every head."""
        values = jax.vmap(self.value)(jnp.concatenate([place, content], -1))
        return jax.vmap(Moments.plus, (0, 1, 1, None))(
            memory, self._keys(place), self._split(values), mask
        )

    def solved(self, memory: Moments) -> Solved:
        """What the memory says to whoever reads it."""
        return jax.vmap(solve)(memory, jnp.exp(jnp.clip(self.log_ridge, -8, 8)))

    def look(self, fit: Solved, place: Array, log_rows: Array, low: float) -> tuple[Array, Array]:
        """Places after a look, and what was read."""
        found, leverage = jax.vmap(Solved.read, (0, 1))(fit, self._keys(place))
        found = jnp.moveaxis(found, 0, 1).reshape(place.shape[0], -1)
        heights = jnp.log(jnp.maximum(leverage.T, 0.0) + low)
        spread = jnp.broadcast_to(0.5 * jnp.log(fit.spread.ravel() + 1e-6), found.shape)
        rows = jnp.full((place.shape[0], 1), log_rows)
        seen = jnp.concatenate([place, found, heights, spread, rows], -1)
        return place + jax.vmap(self.join)(found) + jax.vmap(self.place)(seen), found

    def revise(self, place: Array, content: Array, found: Array) -> Array:
        """Contents of rows after their look."""
        return content + jax.vmap(self.content)(jnp.concatenate([place, content, found], -1))

    def _keys(self, place: Float[Array, "N E"]) -> Float[Array, "N H D"]:
        return self._split(jax.vmap(self.key)(place))

    def _split(self, flat: Float[Array, "N K"]) -> Float[Array, "N H D"]:
        return flat.reshape(flat.shape[0], self.log_ridge.shape[0], -1)


class InContextPredictor(Headed):
    """The built method. See `InContext` for its options."""

    task: AbstractTask = eqx.field(static=True)
    options: "InContext" = eqx.field(static=True)
    reader: Reader
    x_line: eqx.nn.Linear
    x_bend: eqx.nn.MLP
    y_line: eqx.nn.Linear
    y_bend: eqx.nn.MLP
    layers: list[Layer]
    head: Head
    regime: ClassVar[str] = "implicit"

    def init(self) -> State:
        """Empty memories."""
        none = Moments.none(self.options.keys, self.options.values)
        memory = jax.tree.map(lambda a: jnp.broadcast_to(a, (self.options.heads, *a.shape)), none)
        return tuple(memory for _ in self.layers), jnp.zeros(())

    def step(self, state: State, batch: Batch) -> State:
        """Rows of a mini-batch written to the memories, layer by layer."""
        memories, rows = state
        rows, place, kept = rows + jnp.sum(batch.mask), self._places(batch.data), []
        seen = self.reader.y(self.reader.standard(batch.data))
        content = jax.vmap(self.y_line)(seen) + jax.vmap(self.y_bend)(
            jnp.concatenate([place, seen], -1)
        )
        for layer, memory in zip(self.layers, memories, strict=True):
            kept.append(layer.write(memory, place, content, batch.mask))
            place, found = layer.look(
                layer.solved(kept[-1]), place, self._log_rows(rows), self._least
            )
            content = layer.revise(place, content, found)
        return tuple(kept), rows

    def combine(self, states: Any) -> State:
        """Memories of disjoint rows add up."""
        return jax.tree.map(lambda *a: sum(a), *states)

    def features(self, state: State, query: dict[str, Array]) -> Float[Array, "1 Q E"]:
        """Places of the queries after they have read every layer's memory."""
        memories, rows = state
        place, all_found = self._places(query), []
        for layer, memory in zip(self.layers, memories, strict=True):
            fit = layer.solved(memory)
            place, found = layer.look(fit, place, self._log_rows(rows), self._least)
            all_found += [
                found,
                jnp.broadcast_to(0.5 * jnp.log(fit.spread.ravel() + 1e-6), found.shape),
            ]
        return jnp.concatenate([place, *all_found], -1)[None]

    def _places(self, data: dict[str, Array]) -> Float[Array, "N E"]:
        x = self.reader.x(data)
        return jax.vmap(self.x_line)(x) + jax.vmap(self.x_bend)(x)

    def _log_rows(self, rows: Array) -> Array:
        return jnp.log1p(jnp.minimum(rows, self.task.rows[1])) / 3.0 - 1.0

    @property
    def _least(self) -> float:
        """Leverages are read no finer than those trained on."""
        return 0.1 / self.task.rows[1]


@dataclass(frozen=True)
class InContext:
    """Options of the in-context predictor.

    Attributes:
        width: numbers in a token.
        layers: how often rows and queries read what rows have written.
        heads, keys, values: memories of a layer, and the sizes of keys and values in each.
        hidden: width of the head's perceptron.
    """

    width: int = 32
    layers: int = 2
    heads: int = 2
    keys: int = 24
    values: int = 8
    hidden: int = 64

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults: half of the tasks in two mini-batches, so that K is free later."""
        return {"steps": 3000, "batch": 32, "mini_batches": 2, "uneven": True}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> InContextPredictor:
        """Draws the weights for a task; units come from simulated rows."""
        keys = jr.split(key, 6)
        read, width = reader(task, keys[0]), self.width
        layers = [
            Layer(width, self.heads, self.keys, self.values, jr.fold_in(keys[1], i))
            for i in range(self.layers)
        ]
        out = width + 2 * self.layers * self.heads * self.values
        return InContextPredictor(
            task=task, options=self, reader=read, layers=layers,
            x_line=eqx.nn.Linear(read.x_size, width, key=keys[2]),
            x_bend=mlp(read.x_size, width, width, 2, keys[3]),
            y_line=eqx.nn.Linear(read.y_size, width, key=keys[4]),
            y_bend=mlp(width + read.y_size, width, width, 1, keys[5], start=jnp.zeros(width)),
            head=Head(out, read, self.hidden, jr.fold_in(key, 9)),
        )  # fmt: skip


METHOD = InContext
