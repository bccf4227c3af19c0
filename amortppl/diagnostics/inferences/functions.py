"""Inferences that are a user's own function, one dataset at a time, in processes, or vmapped."""

import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from amortppl.diagnostics.inferences.inference import Answers, Inference, thin_chains
from amortppl.errors import DataError
from amortppl.runtime.arguments import expect_whole
from amortppl.runtime.compilation import Compiled
from amortppl.task.abstract import AbstractTask
from amortppl.task.group_summary import as_user_data

TOGETHER, VMAPPED = 8, 256
"""Datasets between two looks at the progress, and in one compiled call."""


def of_function(
    task: AbstractTask, infer: Callable[..., Any], vmap: bool = False, processes: int = 1
) -> Inference:
    """A function (data, key) -> draws by latent.

    Args:
        task: the task.
        infer: takes a dict of arrays by argument and a JAX key. Returns for each latent an array
            of draws (S, ...) or of chains (C, L, ...), or an xarray tree in ArviZ's schema. Of a
            task of groups it takes what the model does: rows, each with the number of its group,
            and how many groups there are.
        vmap: whether it is JAX code, to be compiled and mapped over datasets.
        processes: of Python in which it runs; it must then be importable.

    Raises:
        DataError: `vmap` of a task of groups, whose rows are as many as they are in each dataset.
    """
    expect_whole("processes", processes, 1)
    if vmap and task.grouping:
        raise DataError(
            f"vmap: datasets of {task.name} have different numbers of rows in their groups, which "
            "one compiled function cannot take; leave vmap out, or use processes"
        )
    name = getattr(infer, "__name__", type(infer).__name__)
    if vmap:
        return Inference(name, VMAPPED, partial(_run_mapped, task, infer), name)
    pool = _start_processes(infer, name, processes) if processes > 1 else None
    return Inference(name, TOGETHER * processes, partial(_run, task, infer, pool), name)


def _start_processes(infer: Any, name: str, processes: int) -> ProcessPoolExecutor:
    """Processes that can import a function.

    Raises:
        DataError: it cannot be sent to them.
    """
    try:
        pickle.dumps(infer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DataError(
            f"infer: {name} cannot be sent to other processes ({error}); define it at the top of a "
            "module that they can import, or leave processes=1"
        ) from error
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"))


def _run(
    task: AbstractTask, infer: Any, pool: Any, data: dict[str, np.ndarray], keys: Array, draws: int
) -> Answers:
    """Dataset by dataset; what a function raises is that dataset's problem."""
    own = [_as_the_model_takes(task, {n: v[i] for n, v in data.items()}) for i in range(len(keys))]
    raw = [np.asarray(jax.random.key_data(k)) for k in keys]
    call = partial(_attempt, infer)
    try:
        results = list(pool.map(call, own, raw)) if pool else [*map(call, own, raw)]
    except BrokenProcessPool as error:
        raise DataError(
            "infer: a process ended while the function ran in it; it is likely that the function "
            "ended it or took too much memory, or that the script lacks `if __name__ == "
            "'__main__':`"
        ) from error
    vectors = np.zeros((len(keys), draws, task.latents.size), np.float32)
    kept, problems = np.zeros(len(keys), int), [""] * len(keys)
    for i, (values, problem) in enumerate(results):
        problems[i] = problem
        if not problem:
            one = {n: v[i] for n, v in data.items()}
            answer = thin_chains(_vectors(task, values, one)[None], draws)
            vectors[i], kept[i], problems[i] = answer.vectors[0], answer.kept[0], answer.problems[0]
    return Answers(vectors, kept, problems)


def _as_the_model_takes(task: AbstractTask, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One dataset's arrays as its model has them: of a block the block, of groups their rows."""
    arrays = {n: np.asarray(v[0] if task.block else v) for n, v in data.items()}
    if not task.grouping:
        return arrays
    name = task.grouping.name
    return as_user_data(task.group_layout, arrays) | {f"n_{name}": np.array(len(arrays[name]))}


def _attempt(infer: Any, data: dict[str, np.ndarray], raw: np.ndarray) -> tuple[Any, str]:
    """What a user's function returns, as arrays, or what it raised, in words."""
    key = jax.random.wrap_key_data(jnp.asarray(raw), impl="threefry2x32")
    try:
        return _arrays(infer(data, key)), ""
    except Exception as error:  # whatever a user's function raises
        return {}, f"{type(error).__name__}: {str(error)[:200]}"


def _arrays(returned: Any) -> dict[str, np.ndarray]:
    if isinstance(returned, xr.DataTree):
        posterior = returned["posterior"].dataset
        return {
            str(n): np.asarray(v.transpose("chain", "draw", ...))
            for n, v in posterior.data_vars.items()
        }
    if not isinstance(returned, Mapping):
        raise TypeError(f"expected a dict of draws by latent, got {type(returned).__name__}")
    return {str(n): np.asarray(v) for n, v in returned.items()}


def _vectors(
    task: AbstractTask, values: Mapping[str, np.ndarray], data: dict[str, np.ndarray]
) -> np.ndarray:
    """Draws by latent as unconstrained chains (C, L, P).

    Raises:
        DataError: a latent is missing, or of another shape.
    """
    chains = {}
    for name, shape in task.latents.shapes.items():
        if name not in values:
            raise DataError(
                f"infer: expected draws of {task.latents.names}, got those of {sorted(values)}"
            )
        array = np.asarray(values[name], np.float32)
        free = array.ndim - len(shape)
        if free not in (1, 2) or array.shape[free:] != tuple(shape):
            wanted = f"(draws, *{shape}) or (chains, draws, *{shape})"
            raise DataError(f"infer: {name}: expected draws of shape {wanted}, got {array.shape}")
        chains[name] = array if free == 2 else array[None]
    return np.asarray(_unconstrain(task, chains, data))


@Compiled
def _unconstrain(task: AbstractTask, chains: dict[str, Array], data: dict[str, Array]) -> Array:
    return jax.vmap(jax.vmap(lambda values: task.unconstrain(values, data)))(chains)


@Compiled
def _map_function(
    task: AbstractTask, infer: Any, data: dict[str, Array], keys: Array
) -> tuple[Array, ...]:
    """Unconstrained chains (T, C, L, P)."""

    def one(data: dict[str, Array], key: Array) -> Array:
        own = {n: v[0] for n, v in data.items()} if task.block else data
        values = infer(own, key)
        chains = {
            n: values[n] if values[n].ndim == len(s) + 2 else values[n][None]
            for n, s in task.latents.shapes.items()
        }
        return jax.vmap(jax.vmap(lambda v: task.unconstrain(v, data)))(chains)

    return jax.vmap(one)(data, keys)


def _run_mapped(
    task: AbstractTask, infer: Any, data: dict[str, np.ndarray], keys: Array, draws: int
) -> Answers:
    return thin_chains(np.asarray(_map_function(task, infer, data, keys)), draws)
