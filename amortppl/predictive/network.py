"""A small network x -> distribution of y, whose weights a method adapts or emits."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.method import State
from amortppl.networks.mlp import mlp
from amortppl.predictive.head import Head, Predictive
from amortppl.predictive.predictor import Predictor, like
from amortppl.predictive.reader import Reader
from amortppl.task import Batch

Weights = Any
"""The arrays of a `Network`, None for all else in it."""


class Network(eqx.Module):
    """A perceptron and a linear head."""

    body: eqx.nn.MLP
    head: Head

    def __init__(self, reader: Reader, width: int, depth: int, key: PRNGKeyArray) -> None:
        first, second = jr.split(key)
        self.body = mlp(reader.x_size, width, width, depth - 1, first, activation=jax.nn.relu)
        self.head = Head(width, reader, 0, second)

    def on(self, reader: Reader, data: dict[str, Array], shapes: Any) -> Predictive:
        """The distribution of the observations at rows of inputs."""
        features = jax.nn.relu(jax.vmap(self.body)(reader.x(data)))
        return Predictive(self.head, reader, features[None], shapes)


class Networked(Predictor):
    """A predictor whose readout is a network with weights of the task's own."""

    network: eqx.AbstractVar[Network]

    @abstractmethod
    def weights(self, state: State) -> Weights:
        """The network's weights at a state."""

    def predictive(self, state: State, query: dict[str, Array]) -> Predictive:
        """The network with the task's weights at Q queries."""
        return self.with_weights(self.weights(state), query)

    def with_weights(self, weights: Weights, query: dict[str, Array]) -> Predictive:
        """The network with these weights at Q queries."""
        network = eqx.combine(weights, eqx.partition(self.network, eqx.is_inexact_array)[1])
        return network.on(self.reader, query, like(self.task.rows_like))

    def misfit(self, weights: Weights, batch: Batch) -> Float[Array, ""]:
        """-log p(y | x, weights), the mean over the rows that the mask keeps."""
        rows = self.with_weights(weights, batch.data).log_prob(batch.data)
        return -jnp.sum(jnp.where(batch.mask, rows, 0.0)) / jnp.maximum(jnp.sum(batch.mask), 1)
