"""One class of finitely many: sums of features by class, and class probabilities at queries."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.predictive.predictor import Like
from amortppl.predictive.preprocessing import Reader
from amortppl.task.batch import Batch


class ClassSums(NamedTuple):
    """Sum of each class's features, and its rows; both add up over mini-batches."""

    features: Float[Array, "C E"]
    rows: Float[Array, " C"]

    @classmethod
    def none(cls, classes: int, features: int) -> "ClassSums":
        """Before any row."""
        return cls(jnp.zeros((classes, features)), jnp.zeros(classes))

    def plus(self, reader: Reader, features: Float[Array, "N E"], batch: Batch) -> "ClassSums":
        """With the features of a mini-batch's rows."""
        own = reader.y(reader.standard(batch.data)) * batch.mask[:, None]
        return ClassSums(self.features + own.T @ features, self.rows + jnp.sum(own, 0))


class Classified(eqx.Module):
    """Class probabilities at Q queries, averaged over S classifiers."""

    reader: Reader
    logits: Float[Array, "S Q C"]
    like: Like = eqx.field(static=True)

    def log_prob(self, data: dict[str, Array]) -> Float[Array, " Q"]:
        """Log probability of each query's class."""
        chosen = self.reader.standard(data).astype(int)
        return jnp.take_along_axis(self._mixed(), chosen, -1)[:, 0]

    def sample(self, key: PRNGKeyArray, draws: int) -> dict[str, Array]:
        """Draws of the class, (draws, Q)."""
        mixed = self._mixed()
        drawn = jr.categorical(key, mixed, shape=(draws, mixed.shape[0])).astype(jnp.float32)
        return jax.vmap(lambda c: self.reader.values(c[:, None], self.like))(drawn)

    def _mixed(self) -> Float[Array, "Q C"]:
        return logsumexp(jax.nn.log_softmax(self.logits, -1), 0) - jnp.log(self.logits.shape[0])


def one_class(reader: Reader) -> bool:
    """Whether a row observes one class of finitely many, and nothing else."""
    return [c.kind for c in reader.parts] == ["finite"]
