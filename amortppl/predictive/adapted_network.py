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
from amortppl.predictive.preprocessing import Reader
from amortppl.predictive.row_features import ImageFeatures, RowFeatures, features
from amortppl.task.batch import Batch

Weights = Any
"""The arrays of a `Network`, None for all else in it."""


class Network(eqx.Module):
    """Features of a row, those of an image where its shape is given, and a linear head."""

    body: RowFeatures | ImageFeatures
    head: Head

    def __init__(
        self,
        reader: Reader,
        width: int,
        depth: int,
        key: PRNGKeyArray,
        image: tuple[int, int] | None = None,
    ) -> None:
        first, second = jr.split(key)
        if image is None:
            net = mlp(reader.x_size, width, width, depth - 1, first, activation=jax.nn.relu)
            self.body = RowFeatures(net, width)
        else:
            self.body = features(reader, width, width, image, first)
        self.head = Head(self.body.size, reader, 0, second)

    def on(self, reader: Reader, data: dict[str, Array], shapes: Any) -> Predictive:
        """The distribution of the observations at rows of inputs."""
        hidden = jax.nn.relu(self.body(reader, data))
        return Predictive(self.head, reader, hidden[None], shapes)


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
