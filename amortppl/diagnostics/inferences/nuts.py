"""NumPyro's NUTS over many datasets: chains of all of them in one compiled call."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.diagnostics.inferences.inference import Answers, Inference, thin_chains
from amortppl.runtime.compilation import Compiled
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch

TOGETHER, TRIES = 128, 10
"""Datasets in a call, and places tried for the start of a chain."""


def nuts(
    task: AbstractTask, chains: int = 2, warmup: int = 300, target_accept: float = 0.8
) -> Inference:
    """NUTS on the model's log joint, with what each row has of its own integrated out.

    Args:
        task: the task.
        chains: for each dataset.
        warmup: steps that adapt step size and a diagonal mass matrix.
        target_accept: of the adaptation.
    """

    def run(data: dict[str, np.ndarray], keys: Array, draws: int) -> Answers:
        length = -(-draws // chains)
        values, diverged = _chains(task, data, keys, chains, warmup, length, target_accept)
        answers = thin_chains(np.asarray(values), draws)
        counts = np.asarray(diverged)
        problems = [
            p or ("transitions diverged" if n else "")
            for p, n in zip(answers.problems, counts, strict=True)
        ]
        return answers._replace(problems=problems)

    return Inference("NUTS", TOGETHER, run, f"{chains} {warmup} {target_accept}")


@Compiled
def _chains(
    task: AbstractTask,
    data: dict[str, Array],
    keys: Array,
    chains: int,
    warmup: int,
    length: int,
    target_accept: float,
) -> tuple[Array, Array]:
    """Chains (T, C, L, P), and how many of each dataset's transitions diverged (T,)."""

    def one(data: dict[str, Array], key: Array) -> tuple[Array, Array]:
        batch = Batch(data, jnp.ones(len(next(iter(data.values()))), bool))

        def chain(key: Array) -> tuple[Array, Array]:
            return _chain(task, batch, key, warmup, length, target_accept)

        values, diverged = jax.vmap(chain)(jr.split(key, chains))
        return values, jnp.sum(diverged)

    return jax.vmap(one)(data, keys)


def _chain(
    task: AbstractTask, batch: Batch, key: Array, warmup: int, length: int, target_accept: float
) -> tuple[Array, Array]:
    """Draws (L, P) after the warm-up, and which transitions diverged (L,)."""
    from numpyro.infer import NUTS

    def potential(vector: Array) -> Array:
        return -task.log_joint(vector, batch)

    kernel = NUTS(potential_fn=potential, target_accept_prob=target_accept)
    begin, key = jr.split(key)
    state = kernel.init(key, warmup, start_point(potential, begin, task.latents.size), (), {})
    step = lambda s, _: (kernel.sample(s, (), {}), None)  # noqa: E731
    state = jax.lax.scan(step, state, length=warmup)[0]

    def kept(state: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
        after = kernel.sample(state, (), {})
        return after, (after.z, after.diverging)

    return jax.lax.scan(kept, state, length=length)[1]


def start_point(potential: Any, key: Array, size: int) -> Array:
    """A uniform point in [-2, 2]^P at which the potential and its gradient are finite."""
    tries = jr.uniform(key, (TRIES, size), minval=-2.0, maxval=2.0)
    heights, slopes = jax.vmap(jax.value_and_grad(potential))(tries)
    fine = jnp.isfinite(heights) & jnp.isfinite(slopes).all(1)
    return tries[jnp.argmax(fine)]
