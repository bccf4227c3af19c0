"""Learning from datasets whose latents nobody knows, by the self-consistency of a posterior.

    log p(D) = log p(theta) + log p(D | theta) - log p(theta | D)    for every theta
    loss of D:  log(1 + Var_s[ log p(theta_s, D) - log q(theta_s | D) ]),    theta_s ~ q(theta | D)

which is 0 where q is the posterior, and has no other minimum where q covers it. It is added to the
loss of simulations, from which q alone knows nothing of data that no simulation looks like. No
gradient passes through the draws. Schmitt, Ivanova, Habermann, Köthe, Bürkner and Radev 2024,
"Leveraging self-consistency for data-efficient amortized Bayesian inference", arXiv 2310.04395;
Mishra, Habermann, Schmitt, Radev and Bürkner 2025, "Robust amortized Bayesian inference with
self-consistency losses on unlabeled data", arXiv 2501.13483. The logarithm is ours: variances of
data far from all simulations are of the order of the number of rows squared at first, and would
drown all else.
"""

import warnings
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.errors import TrainingError
from amortppl.method import Method, final
from amortppl.runtime.seeds import fold_in, seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.schedule import Schedule

DRAWS, DATASETS = 32, 16
"""Draws of the posterior of each dataset, and datasets of an update at most."""

STREAM = 19
"""Stream of random keys."""


class Consistency(eqx.Module):
    """The loss of U datasets without latents.

    Attributes:
        batch: their rows, (U, R, ...).
    """

    batch: Batch

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the datasets."""
        arrays = [np.asarray(a).tobytes() for a in jax.tree.leaves(self.batch)]
        return sha256(b"".join(arrays)).hexdigest()[:16]

    def terms(
        self, build: Callable[[Array], Method], weights: Array, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        """The loss and its gradient, on each of several devices an equal part."""
        parts = len(jax.devices())
        return jax.value_and_grad(lambda w: self(build(w), key) / parts)(weights)

    def __call__(self, method: Method, key: PRNGKeyArray) -> Array:
        """Mean loss of some of the datasets, of all where they are few."""
        count, keys = len(self.batch.mask), jr.split(key)
        some = min(count, DATASETS)
        place = jr.permutation(keys[0], count)[:some]
        batch = jax.tree.map(lambda a: jnp.asarray(a)[place], self.batch)
        each = jax.vmap(lambda b, k: consistency(method, b, k))(batch, jr.split(keys[1], some))
        return jnp.mean(jnp.where(jnp.isfinite(each), each, 0.0))


def consistency(method: Method, batch: Batch, key: PRNGKeyArray) -> Array:
    """The loss of one dataset."""
    apart = _apart(method, batch, key)
    finite = jnp.isfinite(apart)
    apart = jnp.where(finite, apart, 0.0)
    count = jnp.maximum(jnp.sum(finite), 2)
    mean = jnp.sum(apart) / count
    return jnp.log1p(jnp.sum(jnp.where(finite, (apart - mean) ** 2, 0.0)) / (count - 1))


def _apart(method: Method, batch: Batch, key: PRNGKeyArray) -> Float[Array, " S"]:
    """log p(theta, D) - log q(theta | D) of draws of one dataset's posterior."""
    posterior: Any = method.readout(final(method, batch))
    vectors = stop_gradient(posterior.sample(key, DRAWS)[0])
    joint = stop_gradient(jax.vmap(lambda v: method.task.log_joint(v, batch))(vectors))
    return joint - jax.vmap(posterior.log_prob)(vectors)


@eqx.filter_jit
def _silent(method: Method, batch: Batch, key: PRNGKeyArray) -> Bool[Array, " U"]:
    """Which of U datasets have fewer than two draws with a finite density: they teach nothing."""
    keys = jr.split(key, len(batch.mask))
    silent = lambda given: jnp.sum(jnp.isfinite(_apart(method, *given))) < 2  # noqa: E731
    return jax.lax.map(silent, (batch, keys), batch_size=DATASETS)


def tell_silent(given: Consistency, method: Method, seed: int, begun: bool) -> None:
    """Tells of datasets from which nothing can be learned, as their density is not finite.

    Args:
        given: the datasets.
        method: with the weights that their posteriors are read from.
        seed: of the run.
        begun: whether the run is over; before it, only datasets that are all so are told of.

    Raises:
        TrainingError: nothing could be learned from any, before the run.

    Warns:
        UserWarning: nothing was learned from some, after it.
    """
    batch = jax.tree.map(jnp.asarray, given.batch)
    silent = np.asarray(_silent(method, batch, fold_in(seed_key(seed), STREAM)))
    why = (
        f"log p(theta, D) - log q(theta | D) is not finite at {DRAWS} draws of their posterior. "
        "Likely the model cannot make such values, or they overflow 32 bits"
    )
    if silent.all() and not begun:
        raise TrainingError(
            f"unlabelled: expected datasets that the model has a density for, got {len(silent)} of "
            f"which none has: {why}"
        )
    if silent.any() and begun:
        warnings.warn(
            f"unlabelled: nothing was learned from {silent.sum()} of {len(silent)} datasets, the "
            f"first of them number {int(np.argmax(silent))} (from 0): {why}",
            stacklevel=3,
        )


def expect_consistency(task: AbstractTask, method: Method, schedule: Schedule) -> None:
    """Refuses runs that cannot learn from unlabelled datasets.

    Raises:
        TrainingError: naming what is missing.
    """
    if not task.has_density:
        raise TrainingError(
            f"unlabelled: {task.name} has no density of the data, against which a posterior could "
            "be checked; `noise=` is what there is for simulators, or write the simulator as a "
            "model with a likelihood"
        )
    if not method.learns_density:
        raise TrainingError(
            f"unlabelled: {type(method).__name__} does not learn the density of a posterior; train "
            "'parametric'"
        )
    if schedule.mini_batch is not None or task.grouping:
        raise TrainingError(
            "unlabelled: expected a run that sees datasets whole and a model without groups; leave "
            "`mini_batch=` or `unlabelled=` out"
        )
