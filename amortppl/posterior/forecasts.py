"""Forecasts of a series: the model run further, given the rows seen.

    p(y_N+1..N+H | y_1..N) = E_{theta ~ q(theta | y_1..N)} prod_h p(y_N+h | y_1..N+h-1, theta)

For each draw of the latents the user's own program runs over N + H rows. Where it samples its
observations one after another (`numpyro.contrib.control_flow.scan`), the first N are those seen and
the others are drawn, in one run. Where it computes the distributions of all rows from a given
series (lagged arrays), it runs once for each new row, which is drawn from its distribution and put
in its place.

The log score of a forecast averages the densities that the rows before it, drawn, give it
(Rao-Blackwell):

    log p(y_N+h | y_1..N) = log 1/S sum_s p(y_N+h | y_1..N, y^s_N+1..N+h-1, theta_s)
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import biject_to

from amortppl.data.dataset import Dataset
from amortppl.errors import DataError, quoted
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import Compiled
from amortppl.runtime.seeds import fold_in, seed_key, split_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.path_latents import Path

WORK = 4_000_000
"""Draws times rows that are run at once."""

Data = Mapping[str, Array]


class Run(NamedTuple):
    """One future: its rows, (H, ...) by argument, and the log density of the rows that came, (H,).
    """

    drawn: dict[str, Array]
    density: Float[Array, " H"]


def expect_known_future(task: AbstractTask, at: Dataset | None, steps: int) -> None:
    """Refuses to forecast what depends on inputs that nobody gave.

    Raises:
        DataError: naming these inputs.
    """
    if task.inputs and at is None:
        raise DataError(
            f"steps: the future of {task.name} depends on {quoted(task.inputs)}, which are not "
            f"known beyond the data; pass their next {steps} rows, as in "
            f"predict(data, at={{{task.inputs[0]!r}: ...}})"
        )


def forecast(
    task: AbstractTask,
    vectors: np.ndarray,
    seen: Dataset,
    future: Mapping[str, np.ndarray],
    steps: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Draws of the next rows, (S, H, ...) by argument.

    Args:
        task: whose rows follow one another.
        vectors: draws of the latents, (S, P).
        seen: the N rows that came before.
        future: the inputs of the next rows, if the model has some.
        steps: H.
        seed: of the draws.
    """
    keys = split_key(fold_in(seed_key(seed), 1), len(vectors))
    size = max(1, WORK // (seen.rows + steps))
    runs = _runs(task, jnp.asarray(vectors), keys, dict(seen.arrays), dict(future), steps, size)
    return {n: np.asarray(v) for n, v in runs.drawn.items()}


def forecast_densities(
    task: AbstractTask, vectors: np.ndarray, seen: Dataset, new: Dataset, seed: int
) -> np.ndarray:
    """Log density of each next row at each draw of latents and of the rows between, (S, H)."""
    keys = split_key(fold_in(seed_key(seed), 1), len(vectors))
    size = max(1, WORK // (seen.rows + new.rows))
    given, came = dict(seen.arrays), dict(new.arrays)
    runs = _runs(task, jnp.asarray(vectors), keys, given, came, new.rows, size)
    return np.asarray(runs.density)


@Compiled
def _runs(
    task: AbstractTask,
    vectors: Array,
    keys: PRNGKeyArray,
    seen: dict[str, Array],
    future: dict[str, Array],
    steps: int,
    size: int,
) -> Run:
    way = _in_one_run if _samples_in_turn(task, seen, steps) else _row_by_row
    one = partial(way, task, seen, future, steps)
    return batched_map(lambda a: one(*a), (vectors, keys), size)


def _samples_in_turn(task: AbstractTask, seen: Data, steps: int) -> bool:
    """Whether the program samples each row of its observations by itself, so that the first can be
    given and the others drawn.
    """
    inputs = {n: seen[n] for n in task.inputs}
    longer = {n: jnp.concatenate([v, v[:1].repeat(steps, 0)]) for n, v in inputs.items()}
    rows = next(iter(seen.values())).shape[0] + steps
    try:
        sites = jax.eval_shape(
            lambda: {
                n: s["value"]
                for n, s in _trace(task, jnp.zeros(task.latents.size), seen, longer, rows).items()
                if n in task.observed.values()
            }
        )
    except (ValueError, TypeError, RuntimeError):
        return False
    shapes = {s: (rows, *seen[a].shape[1:]) for a, s in task.observed.items()}
    return all(sites[n].shape == shape for n, shape in shapes.items())


def _trace(
    task: AbstractTask,
    vector: Array,
    seen: Data,
    inputs: Data,
    rows: int,
    key: PRNGKeyArray | None = None,
) -> dict[str, dict]:
    """The sites of a run over all rows, in which the observations seen are given."""
    latents = task.latents.unflatten(vector)
    observed = {s: seen[a] for a, s in task.observed.items()}
    if isinstance(task.local, Path):
        path = task.local.draw(vector, seen, jr.fold_in(jr.key(0) if key is None else key, 1))
        known = task.trace_at(vector, seen, task.local.unflatten(path))
        observed |= {n: known[n]["value"] for n in task.local.sites}

    def place(site: dict) -> Array | None:
        if site["type"] == "sample" and site["name"] in latents:
            return biject_to(site["fn"].support)(latents[site["name"]])
        return observed.get(site["name"])

    return task.program.trace(jr.key(0) if key is None else key, inputs, rows, place)


def _all_inputs(task: AbstractTask, seen: Data, future: Data) -> dict[str, Array]:
    return {n: jnp.concatenate([seen[n], future[n]]) for n in task.inputs}


def _in_one_run(
    task: AbstractTask, seen: Data, future: Data, steps: int, vector: Array, key: PRNGKeyArray
) -> Run:
    start = next(iter(seen.values())).shape[0]
    inputs = _all_inputs(task, seen, future)
    trace = _trace(task, vector, seen, inputs, start + steps, key)
    drawn = {a: trace[s]["value"][start:] for a, s in task.observed.items()}
    return Run(drawn, _score(task, trace, seen, future, start, steps))


def _score(
    task: AbstractTask, trace: dict[str, dict], seen: Data, future: Data, start: int, steps: int
) -> Float[Array, " H"]:
    """Log density of the rows that came under the distributions of a run; 0 where none came."""
    if not all(a in future for a in task.observed):
        return jnp.zeros(steps)
    total = jnp.zeros(steps)
    for argument, name in task.observed.items():
        came = jnp.concatenate([seen[argument], future[argument]])
        total += task.density.by_row(name, {**trace[name], "value": came})[start:]
    return total


def _row_by_row(
    task: AbstractTask, seen: Data, future: Data, steps: int, vector: Array, key: PRNGKeyArray
) -> Run:
    start = next(iter(seen.values())).shape[0]
    blank = {a: seen[a][-1:].repeat(steps, 0) for a in task.observed}
    whole = {a: jnp.concatenate([seen[a], v]) for a, v in blank.items()}
    inputs = _all_inputs(task, seen, future)

    def draw(row: Array, given: dict[str, Array]) -> dict[str, Array]:
        trace = task.trace_at(vector, inputs | given)
        after = {}
        for i, (argument, name) in enumerate(task.observed.items()):
            each = trace[name]["fn"].sample(jr.fold_in(jr.fold_in(key, i), row))
            each = jnp.broadcast_to(each, given[argument].shape)
            after[argument] = given[argument].at[row].set(each[row].astype(given[argument].dtype))
        return after

    drawn = jax.lax.fori_loop(start, start + steps, draw, whole)
    trace = task.trace_at(vector, inputs | drawn)
    density = _score(task, trace, seen, future, start, steps)
    return Run({a: v[start:] for a, v in drawn.items()}, density)
