"""BlackJAX's Pathfinder over many datasets, in one compiled call."""

from importlib import import_module

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.diagnostics.inferences.autoguide import independent
from amortppl.diagnostics.inferences.inference import Answers, Inference
from amortppl.diagnostics.inferences.nuts import start_point
from amortppl.runtime.compilation import Compiled
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

TOGETHER = 256
"""Datasets in a call."""


def pathfinder(task: AbstractTask, maxiter: int = 60) -> Inference:
    """Pathfinder on the model's log joint, from a uniform start.

    Zhang, Carpenter, Gelman and Vehtari 2022, "Pathfinder: parallel quasi-Newton variational
    inference", JMLR 23.

    Args:
        task: the task.
        maxiter: iterations of L-BFGS at most.

    Raises:
        ImportError: BlackJAX is missing.
    """
    try:
        import_module("blackjax")
    except ImportError as error:
        raise ImportError("pathfinder needs BlackJAX: pip install 'amortppl[blackjax]'") from error

    def run(data: dict[str, np.ndarray], keys: Array, draws: int) -> Answers:
        return independent(np.asarray(_approximate(task, data, keys, maxiter, draws)))

    return Inference("Pathfinder", TOGETHER, run, str(maxiter))


@Compiled
def _approximate(
    task: AbstractTask, data: dict[str, Array], keys: Array, maxiter: int, draws: int
) -> Array:
    """Draws (T, S, P)."""
    pathfinder = import_module("blackjax.vi.pathfinder")
    approximate, sample = pathfinder.approximate, pathfinder.sample

    def one(data: dict[str, Array], key: Array) -> Array:
        batch = Batch(data, jnp.ones(len(next(iter(data.values()))), bool))
        first, second, third = jr.split(key, 3)

        def log_joint(vector: Array) -> Array:
            return task.log_joint(vector, batch)

        start = start_point(lambda v: -log_joint(v), first, task.latents.size)
        state, _ = approximate(second, log_joint, start, maxiter=maxiter)
        return sample(third, state, draws)[0]

    return jax.vmap(one)(data, keys)
