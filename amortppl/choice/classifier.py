"""A network that says which of K models made a dataset.

    min over phi   E_k E_(D | k)  -log q_phi(k | D)

whose minimum is the posterior p(k | D), proportional to p(k) p(D | k): Pudlo et al. 2016, "Reliable
ABC model choice via random forests", arXiv 1406.6288; Radev et al. 2021, "Amortized Bayesian model
comparison with evidential deep learning", arXiv 2004.10629.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.method import Target
from amortppl.networks import Encoder
from amortppl.networks.mlp import mlp
from amortppl.predictive.encoded_rows import EncodedRows, Seen, encoder_of
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import RowScaler, simulated_scales


class Choice(eqx.Module):
    """A distribution over the number of a model.

    >>> choice = Choice(jnp.log(jnp.array([0.25, 0.75])))
    >>> round(float(jnp.exp(choice.log_prob(jnp.array([1.0])))), 2)
    0.75
    """

    log_probabilities: Float[Array, " M"]

    def log_prob(self, vector: Float[Array, " 1"]) -> Array:
        """Log probability of one model."""
        return self.log_probabilities[vector[0].astype(int)]

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S 1"], Float[Array, " S"]]:
        """Numbers of models (S, 1) and their log probabilities (S,)."""
        drawn = jr.categorical(key, self.log_probabilities, shape=(draws,))
        return drawn[:, None].astype(jnp.float32), self.log_probabilities[drawn]


class Classifier(EncodedRows):
    """The built method. See `ClassifierOptions`."""

    task: AbstractTask = eqx.field(static=True)
    rows: RowScaler
    encode: Encoder
    head: eqx.nn.MLP
    regime: ClassVar[str] = "explicit"

    def readout(self, state: Seen) -> Choice:
        """Which model it was."""
        return Choice(jax.nn.log_softmax(self.head(self.summary(state))))

    def score(self, state: Seen, target: Target) -> Array:
        """-log q(k | D), in nats."""
        return -self.readout(state).log_prob(target.latents)


@dataclass(frozen=True)
class ClassifierOptions:
    """Options of the classifier.

    Attributes:
        models: K.
        encoder: of the rows, as of `parametric`.
        width: numbers in the encoded dataset.
        hidden: width of the network on top.
    """

    models: int
    encoder: Any = "deep_set"
    width: int = 32
    hidden: int = 64

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults."""
        return {"steps": 3000, "batch": 128}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> Classifier:
        """Draws the weights; all models are as probable at the start."""
        keys = jr.split(key, 3)
        _, rows = simulated_scales(task, keys[0])
        encode = encoder_of(task, self.encoder, rows, self.width, keys[1])
        start = jnp.zeros(self.models)
        head = mlp(encode.size + 1, self.models, self.hidden, 2, keys[2], start=start)
        return Classifier(task=task, rows=rows, encode=encode, head=head)
