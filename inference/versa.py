"""Explicit regime: VERSA (ML-PIP), a posterior over a linear classifier's weights, class by class.

Each class's weights come from the mean of its rows' features alone, so that any of the classes
trained for may be any class of a new task. Gordon et al. 2019, "Meta-learning probabilistic
inference for prediction", arXiv 1805.09921. A network learns what these weights are beyond those of
the nearest class mean, w_c = m_c and b_c = -|m_c|^2 / 2 (Snell, Swersky and Zemel 2017, arXiv
1703.05175, section 2.4). It is the same for every weight: one that sees all features at once learns
    the classes trained on, and with one
example of classes that were not falls behind the pixels' nearest mean.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.networks.mlp import mlp
from amortppl.predictive.class_sums import Classified, ClassSums, one_class
from amortppl.predictive.predictor import Predictor, like
from amortppl.predictive.preprocessing import Reader, reader
from amortppl.predictive.row_features import ImageFeatures, RowFeatures, features
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

DRAWS = 10
"""Draws of the classifier's weights."""

LENGTH = 2.0
"""Of an image's features to begin with: longer ones are surer of classes trained on, and wrong of
others.
"""

HIDDEN = 16
"""Width of the network that turns a weight of the nearest mean, and the rows of the class, into a
Gaussian.
"""


class VersaPredictor(Predictor):
    """The built method. See `Versa` for its options."""

    task: AbstractTask = eqx.field(static=True)
    reader: Reader
    feature: RowFeatures | ImageFeatures
    amortize: eqx.nn.MLP
    regime: ClassVar[str] = "explicit"

    def init(self) -> ClassSums:
        """No rows."""
        return ClassSums.none(self.reader.parts[0].classes, self.feature.size)

    def step(self, state: ClassSums, batch: Batch) -> ClassSums:
        """Features of a mini-batch's rows added to their classes."""
        return state.plus(self.reader, self.feature(self.reader, batch.data), batch)

    def combine(self, states: Any) -> ClassSums:
        """Sums over disjoint rows add up."""
        return jax.tree.map(lambda *a: sum(a), *states)

    def predictive(self, state: ClassSums, query: dict[str, Array]) -> Classified:
        """Classes at Q queries."""
        mean = state.features / jnp.maximum(state.rows, 1.0)[:, None]
        nearest = jnp.concatenate([mean, -0.5 * jnp.sum(mean**2, -1, keepdims=True)], -1)
        known = jnp.stack(jnp.broadcast_arrays(nearest, jnp.log1p(state.rows)[:, None]), -1)
        change, log_sd = jnp.moveaxis(jax.vmap(jax.vmap(self.amortize))(known), -1, 0)
        place = nearest + change
        noise = jr.normal(jr.key(0), (DRAWS, *place.shape))
        weights = place + jnp.exp(jnp.clip(log_sd - 3.0, -8.0, 2.0)) * noise
        features = self.feature(self.reader, query)
        logits = jnp.einsum("sce,qe->sqc", weights[..., :-1], features) + weights[:, None, :, -1]
        return Classified(self.reader, logits, like(self.task.rows_like))


@dataclass(frozen=True)
class Versa:
    """Options.

    Attributes:
        features: learned features of a row.
        hidden: width of the features' network.
        image: height and width of the input, where it is an image.
    """

    features: int = 32
    hidden: int = 64
    image: tuple[int, int] | None = None

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Training defaults; mini-batches change nothing, because sums add up."""
        return {"steps": 4000, "batch": 32}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> VersaPredictor:
        """Draws the weights for a task.

        Raises:
            ModelError: the observation is not one class of finitely many.
        """
        keys = jr.split(key, 3)
        read = reader(task, keys[0])
        if not one_class(read):
            raise ModelError(
                f"versa: it classifies, and {task.name} observes "
                f"{[c.argument for c in read.parts]} of kind "
                f"{sorted({c.kind for c in read.parts})}; 'in_context', 'neural_process', 'maml' "
                f"and 'parametric' "
                "serve it"
            )
        feature = features(read, self.features, self.hidden, self.image, keys[1], LENGTH)
        return VersaPredictor(
            task=task, reader=read, feature=feature,
            amortize=mlp(2, 2, HIDDEN, 1, keys[2], start=jnp.zeros(2)),
        )  # fmt: skip


METHOD = Versa
