"""Hypernetwork: one pass over D emits the weights of a network that predicts.

Ha, Dai and Le 2017, "HyperNetworks", arXiv 1609.09106; over sets of rows as in Mittal et al. 2025,
arXiv 2510.11471.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.networks.deep_set import DeepSet
from amortppl.networks.mlp import mlp
from amortppl.predictive.adapted_network import Network, Networked, Weights
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


class Sums(NamedTuple):
    """Sum of the encoded rows, and how many they are."""

    encoded: Float[Array, " E"]
    rows: Float[Array, ""]


class HyperPredictor(Networked):
    """The built method. See `Hypernetwork` for its options."""

    task: AbstractTask = eqx.field(static=True)
    reader: Reader
    encode: DeepSet
    emit: eqx.nn.MLP
    network: Network
    regime: ClassVar[str] = "parametric"

    def init(self) -> Sums:
        """No rows."""
        return Sums(jnp.zeros(self.emit.in_size - 1), jnp.zeros(()))

    def step(self, state: Sums, batch: Batch) -> Sums:
        """Rows encoded and added."""
        seen = jnp.concatenate(
            [self.reader.x(batch.data), self.reader.y(self.reader.standard(batch.data))], -1
        )
        return Sums(state.encoded + self.encode(seen, batch.mask), state.rows + jnp.sum(batch.mask))

    def combine(self, states: Any) -> Sums:
        """Sums over disjoint rows add up."""
        return jax.tree.map(lambda *a: sum(a), *states)

    def weights(self, state: Sums) -> Weights:
        """Learned weights plus what the rows change in them."""
        base, restore = ravel_pytree(eqx.filter(self.network, eqx.is_inexact_array))
        rows = jnp.minimum(state.rows, self.task.rows[1])
        known = jnp.append(state.encoded / jnp.maximum(state.rows, 1.0), jnp.log1p(rows) / 3.0)
        return restore(base + self.emit(known) * jnp.where(state.rows > 0, 1.0, 0.0))


@dataclass(frozen=True)
class Hypernetwork:
    """Options: width of the network that predicts, and of the networks that emit its weights."""

    width: int = 24
    hidden: int = 64

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults; mini-batches change nothing, because sums add up."""
        return {"steps": 4000, "batch": 64}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> HyperPredictor:
        """Draws the weights for a task."""
        keys = jr.split(key, 4)
        read = reader(task, keys[0])
        network = Network(read, self.width, 2, keys[1])
        size = ravel_pytree(eqx.filter(network, eqx.is_inexact_array))[0].shape[0]
        encode = DeepSet(read.x_size + read.y_size, self.hidden, keys[2])
        emit = mlp(self.hidden + 1, size, self.hidden, 2, keys[3], start=jnp.zeros(size))
        return HyperPredictor(task=task, reader=read, encode=encode, emit=emit, network=network)


METHOD = Hypernetwork
