"""Fresh datasets of a model or of episodes, cut into rows that are given and rows to predict."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from amortppl import catalogue
from amortppl.data.dataset import Dataset
from amortppl.errors import ModelError
from amortppl.posterior import predictions
from amortppl.runtime import batched_map
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask

QUERIES = 32
"""Query rows of a dataset."""


class Held(NamedTuple):
    """A fresh dataset: context rows, query rows, and what is exact for these.

    Attributes:
        context: rows that a method is given.
        query: rows that it predicts.
        exact: the exact log predictive density of each query, or None where it is not known.
    """

    context: dict[str, np.ndarray]
    query: dict[str, np.ndarray]
    exact: np.ndarray | None


def hold_out(model: str, datasets: int, seed: int) -> dict[int, list[Held]]:
    """Fresh datasets by number of context rows.

    Args:
        model: a model's name, or a path to its file.
        datasets: how many of each number of rows.
        seed: of the datasets.

    Raises:
        ModelError: the data are one block.
    """
    path = catalogue.split_name(model)[0]
    task, file = catalogue.model(model), catalogue.module("models", path)
    if task.block:
        raise ModelError(
            f"compare: the data of {task.name} are one block, which has no rows to hold out"
        )
    apart = catalogue.has_episodes(file) and hasattr(file, "held_out")
    fresh = catalogue.model(f"{path}:held_out") if apart else task
    return {
        rows: [hold_out_one(fresh, file, rows, seed, i) for i in range(datasets)]
        for rows in _sizes(task)
    }


def _sizes(task: AbstractTask) -> list[int]:
    """Smallest, middle (by the logarithm) and largest number of context rows."""
    return sorted({round(r) for r in np.geomspace(*task.rows, 3)})


def hold_out_one(task: AbstractTask, file: ModuleType, rows: int, seed: int, number: int) -> Held:
    """The fresh dataset of a number, with so many context rows."""
    draw = task.simulate(jr.fold_in(seed_key(seed + 10_000), number), rows + QUERIES)
    data = {n: np.asarray(v) for n, v in draw.data.items()}
    context, query = {n: v[:rows] for n, v in data.items()}, {n: v[rows:] for n, v in data.items()}
    exact, posterior = None, getattr(file, "exact_posterior", None)
    if posterior is not None:
        exact = _exact(task, posterior, context, query, number)
    elif task.tied and not task.latents.size:
        seen, new, nothing = Dataset(context, {}), Dataset(query, {}), np.zeros((1, 0), np.float32)
        exact = predictions.pointwise_new_rows(task, nothing, seen, new)[0]
    return Held(context, query, exact)


def _exact(
    task: AbstractTask,
    posterior: Callable[..., dict],
    context: dict[str, Any],
    query: dict[str, Any],
    number: int,
) -> np.ndarray:
    """log 1/S sum_s p(y* | x*, theta_s) under exact draws; S = 4000 leaves about 0.001 nats."""
    draws = {
        n: jnp.asarray(v, jnp.float32) for n, v in posterior(context, jr.key(number), 4000).items()
    }

    @jax.jit
    def rows(draws: dict[str, Any], query: dict[str, Any]) -> Any:
        def one(sites: dict[str, Any]) -> Any:
            return task.log_densities(task.unconstrain(sites, query), query)[1]

        heights = batched_map.batched_map(one, draws, 256)
        return jax.scipy.special.logsumexp(heights, 0) - jnp.log(4000.0)

    return np.asarray(rows(draws, {n: jnp.asarray(v) for n, v in query.items()}))
