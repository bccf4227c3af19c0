"""Datasets of one shape taken together by a rung, padded with copies."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl.posterior.padding import pad
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.trust.attempt import DATASETS_PER_CALL, Climb

DENSITIES = 1 << 24
"""Densities of rows that are evaluated at once: 64 MiB in 32 bits."""

Draws = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Vectors (S, P), their log density under the guide (S,) and under the model (S,)."""


def batch_together(run: Climb, places: list[int], rung: int) -> tuple[Batch, Array]:
    """The datasets at some places, stacked, and a key for each, different for every rung."""
    batches = [pad(run.guide.task, run.datasets[i]) for i in places]
    keys = jax.vmap(lambda i: jr.fold_in(jr.fold_in(seed_key(run.seed), 100 + rung), i))(
        jnp.array(fill(places))
    )
    return jax.tree.map(lambda *a: np.stack(a), *fill(batches)), keys


def fill(items: list[Any]) -> list[Any]:
    """One item as it is; several filled up to `DATASETS_PER_CALL` with copies of the first."""
    return items if len(items) == 1 else items + [items[0]] * (DATASETS_PER_CALL - len(items))


def pad_arrays(arrays: list[np.ndarray]) -> Array:
    """Arrays of one shape, filled up and stacked, as float32."""
    return jnp.asarray(np.stack(fill(arrays)), jnp.float32)


def fold_keys(keys: Array, number: int) -> Array:
    """A number folded into each key."""
    return jax.vmap(lambda k: jr.fold_in(k, number))(keys)


def split_results(results: Any, places: list[int]) -> list[Any]:
    """Stacked results as one tuple for each dataset, without the copies."""
    arrays = [np.asarray(a) for a in results]
    return [tuple(a[i] for a in arrays) for i in range(len(places))]


def score_draws(task: AbstractTask, posterior: Any, batch: Batch, key: Array, draws: int) -> Draws:
    """Draws of a posterior with their log densities under it and under the model."""
    vectors, log_guide = posterior.sample(key, draws)
    size = together(task, jax.tree.map(lambda a: a[None], batch))
    return vectors, log_guide, batched_map(lambda v: task.log_joint(v, batch), vectors, size)


def together(task: AbstractTask, batches: Batch) -> int:
    """Draws whose log joints are taken at once: 256, or fewer where each takes many densities, as
    groups do whose effects are integrated out.
    """
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batches)
    each = np.prod(batches.mask.shape) * task.evaluations(one.data)
    return int(max(1, min(256, DENSITIES // each)))
