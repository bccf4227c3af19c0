"""Whether what was learned covers as many simulated datasets as the start does.

A correction of a frame is learned on its mean loss, and few datasets whose frame is far off can
weigh most in it: all others may end up worse than with the frame alone.
"""

import warnings
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.runtime.seeds import fold_in, seed_key, split_key
from amortppl.training.pooled import PooledTrainer
from amortppl.training.prepared_tasks import PreparedTasks
from amortppl.training.trainer import Trainer
from amortppl.trust import psis

DRAWS, TOGETHER = 1000, 4
"""Draws of a task that k-hat is of, and tasks of which these are made at once."""

STREAM = 17
"""Stream of random keys."""


def learned_or_start(trainer: Trainer, learned: Array, tasks: PreparedTasks | None) -> Array:
    """The weights learned, or those of the start where they cover more held-out tasks.

    Covered is a task whose k-hat is below 0.7 (`amortppl.trust.psis`). Both are judged on the same
    held-out tasks and by the same random numbers.

    Args:
        trainer: of the run.
        learned: its weights.
        tasks: that it left behind, the held-out ones first.

    Warns:
        UserWarning: the start is kept.
    """
    start = trainer.weights
    if tasks is None or not isinstance(trainer, PooledTrainer):
        return learned
    if not (trainer.task.has_density and trainer.method(learned).keeps_start):
        return learned
    held: PreparedTasks = jax.tree.map(lambda a: a[: trainer.held], tasks)
    key = fold_in(seed_key(trainer.seed), STREAM)
    draw = jax.jit(partial(_log_densities, trainer))
    before, after = (
        _covered(draw(w, held, split_key(key, len(held.usable))), held) for w in (start, learned)
    )
    if after >= before:
        return learned
    warnings.warn(
        f"train: what was learned covers {after:.0%} of {len(held.usable)} held-out tasks (k-hat "
        f"below 0.7), the closed form alone {before:.0%}, so it is kept. Train for longer or on a "
        "larger pool=; trust='ladder' answers what is not covered",
        stacklevel=3,
    )
    return start


def _log_densities(
    trainer: PooledTrainer, weights: Array, tasks: PreparedTasks, keys: PRNGKeyArray
) -> tuple[Float[Array, "T S"], Float[Array, "T S"]]:
    """log p(theta, D) and log q(theta | D) of draws of each task."""
    method = trainer.method(weights)

    def one(given: Any) -> tuple[Array, Array]:
        batch, state, key = given
        vectors, log_q = method.readout(method.recall(state, batch)).sample(key, DRAWS)
        return jax.vmap(lambda v: trainer.task.log_joint(v, batch))(vectors), log_q

    return jax.lax.map(one, (tasks.batches, tasks.states, keys), batch_size=TOGETHER)


def _covered(log_densities: tuple[Array, Array], tasks: PreparedTasks) -> float:
    """The share of usable tasks whose k-hat is below 0.7."""
    khat = psis.check(*map(np.asarray, log_densities)).khat
    usable = np.asarray(tasks.usable)
    return float(np.sum((khat < psis.USABLE) & usable) / max(usable.sum(), 1))
