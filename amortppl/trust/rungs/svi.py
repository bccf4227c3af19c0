"""The rung of stochastic variational inference from the guide's draws."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array

from amortppl.errors import ModelError
from amortppl.method import Method, final
from amortppl.runtime.compilation import Compiled
from amortppl.runtime.optimization import minimize_stochastic
from amortppl.task.batch import Batch
from amortppl.trust.attempt import Attempt, Climb
from amortppl.trust.rungs.batching import Draws, batch_together, score_draws, split_results
from amortppl.trust.rungs.importance import POOL, resample_draws

STEPS, PARTICLES, RATE = 150, 32, 0.02
"""Updates of SVI, draws for each, and the rate of Adam."""


def fit_svi(run: Climb, places: list[int]) -> list[Attempt]:
    """A few steps of variational inference on the guide's readout, then importance resampling.

    Raises:
        ModelError: each draw takes a search for the mode of effects, which is not differentiated.
    """
    if getattr(run.guide.method, "classes", None):
        raise ModelError("each draw takes a search for crossed effects, which has no gradient")
    batch, keys = batch_together(run, places, 3)
    draws = _fit_svi(run.guide.method, batch, keys, POOL * run.draws)
    return [resample_draws(run, each, run.seed) for each in split_results(draws, places)]


@Compiled
def _fit_svi(method: Method, batches: Batch, keys: Array, draws: int) -> Draws:
    """Maximises E_q [log p(theta, D) - log q(theta)] over the readout's own numbers."""
    optimizer = optax.chain(optax.zero_nans(), optax.clip_by_global_norm(10.0), optax.adam(RATE))

    def one(batch: Batch, key: Array) -> Draws:
        learned, rest = eqx.partition(method.readout(final(method, batch)), eqx.is_inexact_array)

        def loss(learned: Any, key: Array) -> Array:
            vectors, log_guide = eqx.combine(learned, rest).sample(key, PARTICLES)
            joint = jax.vmap(lambda v: method.task.log_joint(v, batch))(vectors)
            return jnp.mean(log_guide - joint)

        keys = jr.split(jr.fold_in(key, 0), STEPS)
        posterior = eqx.combine(minimize_stochastic(loss, learned, optimizer, keys), rest)
        return score_draws(method.task, posterior, batch, jr.fold_in(key, 1), draws)

    return jax.vmap(one)(batches, keys)
