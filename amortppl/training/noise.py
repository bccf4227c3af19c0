"""Noise on the rows that are learned from, for data that no simulation looks like.

    v' = v + s e,    e ~ 1/2 N(0, 0.01^2) + 1/2 Cauchy(0, noise)

for every number v of a row, with s its scale over simulated rows. What is learned is the posterior
of a model whose observations have these errors, so that a row far from the model's counts little
where it would else decide. Ward, Cannon, Beaumont, Fasiolo and Schmon 2022, "Robust neural
posterior estimation and statistical model criticism", arXiv 2210.06564 (noisy neural posterior
estimation, on summaries; here on rows).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PRNGKeyArray

from amortppl.errors import TrainingError
from amortppl.runtime.arguments import expect_positive
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.scaling import RowScaler
from amortppl.training.schedule import Schedule
from amortppl.training.simulate import Episodes

SPIKE = 0.01
"""Deviation of the errors that are not large, in scales."""


class RowNoise(eqx.Module):
    """Adds errors to the observations of simulated tasks.

    Attributes:
        scale: of each observation by name, in the shape of a row's.
        size: scale of the large errors, in these scales.
    """

    scale: dict[str, Array]
    size: float = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray, episodes: Episodes) -> Episodes:
        """The tasks with errors in all rows that are given, and none in those to predict."""
        keys = jr.split(key, len(episodes.batches))
        return eqx.tree_at(
            lambda e: e.batches,
            episodes,
            [self._batch(k, b) for k, b in zip(keys, episodes.batches, strict=True)],
        )

    def _batch(self, key: PRNGKeyArray, batch: Batch) -> Batch:
        noisy = dict(batch.data)
        for i, (name, scale) in enumerate(self.scale.items()):
            value = batch.data[name]
            noisy[name] = value + scale * self._errors(jr.fold_in(key, i), value.shape)
        return Batch(noisy, batch.mask)

    def _errors(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        keys = jr.split(key, 3)
        large = self.size * jr.cauchy(keys[0], shape)
        small = SPIKE * jr.normal(keys[1], shape)
        return jnp.where(jr.bernoulli(keys[2], shape=shape), large, small)


def row_noise(task: AbstractTask, method: Any, schedule: Schedule) -> RowNoise | None:
    """The noise of a run; None without.

    Raises:
        TrainingError: the method sees a likelihood, which knows of no errors, or does not scale
            rows.
    """
    if schedule.noise == 0.0:
        return None
    expect_positive("train: noise", schedule.noise, TrainingError)
    if schedule.mini_batch is not None:
        raise TrainingError("noise: greedy training (mini_batch=) has none; leave one of the two")
    rows = getattr(method, "rows", None)
    if task.likelihood or not isinstance(rows, RowScaler) or task.grouping:
        raise TrainingError(
            f"noise: expected a method that learns from simulated rows alone, and {task.name} has "
            "a likelihood or rows in groups; say likelihood=False in the task, or write the errors "
            "into the model"
        )
    shapes = {n: task.rows_like[n].shape[1:] for n in rows.names}
    sizes = [int(jnp.prod(jnp.array(s, int))) for s in shapes.values()]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    each = dict(zip(rows.names, jnp.split(jax.lax.stop_gradient(rows.scale), ends), strict=True))
    return RowNoise({n: each[n].reshape(shapes[n]) for n in task.observed}, schedule.noise)
