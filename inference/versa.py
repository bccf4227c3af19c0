"""Explicit regime: VERSA (ML-PIP), a posterior over a linear classifier's weights, class by class.

Each class's weights come from the mean of its rows' features alone, so that any of the classes
trained for may be any class of a new task. Gordon et al. 2019, "Meta-learning probabilistic
inference for prediction", arXiv 1805.09921.
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
from amortppl.predictive.classes import Classified, ClassSums, one_class
from amortppl.predictive.predictor import Predictor, like
from amortppl.predictive.reader import Reader, reader
from amortppl.task import Batch, Task

DRAWS = 10
"""Draws of the classifier's weights."""


class VersaPredictor(Predictor):
    """The built method. See `Versa` for its options."""

    task: Task = eqx.field(static=True)
    reader: Reader
    feature: eqx.nn.MLP
    amortize: eqx.nn.MLP
    regime: ClassVar[str] = "explicit"

    def init(self) -> ClassSums:
        """No rows."""
        return ClassSums.none(self.reader.parts[0].classes, self.feature.out_size)

    def step(self, state: ClassSums, batch: Batch) -> ClassSums:
        """Features of a mini-batch's rows added to their classes."""
        return state.plus(self.reader, jax.vmap(self.feature)(self.reader.x(batch.data)), batch)

    def combine(self, states: Any) -> ClassSums:
        """Sums over disjoint rows add up."""
        return jax.tree.map(lambda *a: sum(a), *states)

    def predictive(self, state: ClassSums, query: dict[str, Array]) -> Classified:
        """Classes at Q queries."""
        mean = state.features / jnp.maximum(state.rows, 1.0)[:, None]
        known = jnp.concatenate([mean, jnp.log1p(state.rows)[:, None]], -1)
        place, log_sd = jnp.split(jax.vmap(self.amortize)(known), 2, -1)
        noise = jr.normal(jr.key(0), (DRAWS, *place.shape))
        weights = place + jnp.exp(jnp.clip(log_sd - 3.0, -8.0, 2.0)) * noise
        features = jax.vmap(self.feature)(self.reader.x(query))
        logits = jnp.einsum("sce,qe->sqc", weights[..., :-1], features) + weights[:, None, :, -1]
        return Classified(self.reader, logits, like(self.task.rows_like))


@dataclass(frozen=True)
class Versa:
    """Options: numbers in the features of a row, and width of the networks."""

    features: int = 32
    hidden: int = 64

    def schedule(self, task: Task) -> dict[str, Any]:
        """Training defaults; mini-batches change nothing, because sums add up."""
        return {"steps": 4000, "batch": 32}

    def build(self, task: Task, key: PRNGKeyArray) -> VersaPredictor:
        """Draws the weights for a task.

        Raises:
            ModelError: the observation is not one class of finitely many.
        """
        keys = jr.split(key, 3)
        read = reader(task, keys[0])
        if not one_class(read):
            raise ModelError(
                f"versa: it classifies, and {task.name} observes {[c.argument for c in read.parts]} of kind "
                f"{sorted({c.kind for c in read.parts})}; 'in_context', 'neural_process', 'maml' and 'parametric' "
                "serve it"
            )
        return VersaPredictor(
            task=task, reader=read, feature=mlp(read.x_size, self.features, self.hidden, 2, keys[1]),
            amortize=mlp(self.features + 1, 2 * (self.features + 1), self.hidden, 2, keys[2]),
        )  # fmt: skip


METHOD = Versa
