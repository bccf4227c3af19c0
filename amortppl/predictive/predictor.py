"""What methods that read out a predictive distribution share: the score, and the readout at
queries.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.errors import GuideError
from amortppl.method import Method, State, Target
from amortppl.predictive.head import Head, Predictive
from amortppl.predictive.preprocessing import Reader

PRIOR = 0.1
"""Weight in the score of what is predicted before any row was seen."""


class At(eqx.Module):
    """The readout of a state: the predictive distribution at any queries."""

    method: "Predictor"
    state: State

    def __call__(self, query: dict[str, Array]) -> Any:
        """Inputs of Q queries (observations are not looked at) -> distribution of their
        observations.
        """
        return self.method.predictive(self.state, query)

    def sample(self, key: PRNGKeyArray, draws: int) -> Any:
        """No draws of latents: there is no posterior over the model's own."""
        raise GuideError(
            f"{type(self.method).__name__}: it predicts observations and has no posterior over the "
            f"model's latents; "
            "use predict or log_predictive, or train 'parametric'"
        )

    log_prob = sample


class Predictor(Method):
    """A method that learns f as well: its readout is p(y* | x*, D)."""

    reader: eqx.AbstractVar[Reader]
    predicts: ClassVar[bool] = True
    queries: ClassVar[int] = 16

    @abstractmethod
    def predictive(self, state: State, query: dict[str, Array]) -> Any:
        """Distribution of the observations at Q queries: `log_prob(data)` (Q,) and `sample(key,
        draws)`.
        """

    def readout(self, state: State) -> At:
        """The predictive distribution at any queries."""
        return At(self, state)

    def score(self, state: State, target: Target) -> Array:
        """-log p(y* | x*, D) in nats a query, and a little of it before any row."""
        return self.loss(state, target.query) + PRIOR * self.loss(self.init(), target.query)

    def loss(self, state: State, query: dict[str, Array]) -> Array:
        """-log p(y* | x*, D), the mean over queries."""
        return -jnp.mean(self.predictive(state, query).log_prob(query))


class Headed(Predictor):
    """A predictor that ends in a head on features of the queries."""

    head: eqx.AbstractVar[Head]

    @abstractmethod
    def features(self, state: State, query: dict[str, Array]) -> Float[Array, "S Q E"]:
        """Features of Q queries, for each of S equally likely predictors."""

    def predictive(self, state: State, query: dict[str, Array]) -> Predictive:
        """The head on the queries' features."""
        return self.on(self.features(state, query))

    def on(self, features: Float[Array, "S Q E"]) -> Predictive:
        """The head on features."""
        return Predictive(self.head, self.reader, features, like(self.task.rows_like))


class Like(dict):
    """Shapes and types by argument, fit to be a static field."""

    def __hash__(self) -> int:
        return hash(tuple((n, s.shape, str(s.dtype)) for n, s in self.items()))


def like(rows: dict[str, jax.ShapeDtypeStruct]) -> Like:
    """Shapes and types of a task's arguments."""
    return Like(rows)
