"""Learned features whose classes are Gaussian, with a conjugate prior on each class's mean.

    phi(x) | y = c  ~  N(mu_c, I),    mu_c ~ N(m, diag(lambda)^-1),    P(y = c | D) proportional to
    n_c + a

Given the sums of each class's features the posterior of mu_c is Gaussian, and so is the predictive
density of a query's features in each class; Bayes' rule turns these into class probabilities. Many
rows, or a flat prior, make it the prototypical network of Snell, Swersky and Zemel 2017,
"Prototypical networks for few-shot learning", arXiv
1703.05175; as the classifier beside ALPaCA: Harrison, Sharma, Finn and Pavone 2020, "Continuous
    meta-learning
without tasks", arXiv 1912.08866, section 4.2.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from amortppl.predictive.class_sums import Classified, ClassSums
from amortppl.predictive.predictor import Predictor, like
from amortppl.predictive.preprocessing import Reader
from amortppl.predictive.row_features import ImageFeatures, RowFeatures
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch


class GaussianClasses(Predictor):
    """A predictor of one class of finitely many.

    Attributes:
        feature: phi.
        centre: m.
        log_precision: log lambda; the rows' own precision is one, because phi's scale is learned.
        log_concentration: log a.
    """

    task: AbstractTask = eqx.field(static=True)
    reader: Reader
    feature: RowFeatures | ImageFeatures
    centre: Float[Array, " E"]
    log_precision: Float[Array, " E"]
    log_concentration: Float[Array, ""]
    regime: ClassVar[str] = "explicit"

    def init(self) -> ClassSums:
        """No rows."""
        return ClassSums.none(self.reader.parts[0].classes, self.centre.shape[0])

    def step(self, state: ClassSums, batch: Batch) -> ClassSums:
        """Features of a mini-batch's rows added to their classes."""
        return state.plus(self.reader, self.feature(self.reader, batch.data), batch)

    def combine(self, states: Any) -> ClassSums:
        """Sums over disjoint rows add up."""
        return jax.tree.map(lambda *a: sum(a), *states)

    def predictive(self, state: ClassSums, query: dict[str, Array]) -> Classified:
        """Classes at Q queries, in closed form."""
        prior = jnp.exp(jnp.clip(self.log_precision, -10.0, 10.0))
        precision = prior + state.rows[:, None]
        mean = (state.features + prior * self.centre) / precision
        variance = 1.0 + 1.0 / precision
        away = self.feature(self.reader, query)[:, None] - mean
        height = -0.5 * jnp.sum(away**2 / variance + jnp.log(variance), -1)
        often = jnp.log(state.rows + jnp.exp(self.log_concentration))
        return Classified(self.reader, (height + often)[None], like(self.task.rows_like))


def gaussian_classes(
    task: AbstractTask, reader: Reader, feature: RowFeatures | ImageFeatures
) -> GaussianClasses:
    """The predictor on features of a task's rows: a prior of unit precision, a concentration of
    one.
    """
    none = jnp.zeros(feature.size)
    return GaussianClasses(
        task=task,
        reader=reader,
        feature=feature,
        centre=none,
        log_precision=none,
        log_concentration=jnp.zeros(()),
    )
