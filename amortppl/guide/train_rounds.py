"""Sequential rounds for one dataset: simulate where its posterior can be, and train again.

    theta ~ p(theta) 1[theta in H_r] / p(H_r),    H_r = {theta: log q_r-1(theta | D) >= t_r}

where t_r leaves out a thousandth of the draws of the round before. In the regions of all rounds
the proposals are proportional to the prior, so that the posterior of this dataset is learned as it
is, with no correction: Deistler, Gonçalves and Macke 2022, "Truncated proposals for scalable and
hassle-free simulation-based inference", arXiv 2210.04815.
"""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from amortppl import catalogue
from amortppl.data.dataset import Dataset, read
from amortppl.errors import ModelError, SimulationWarning
from amortppl.guide.guide import Guide
from amortppl.guide.train import train
from amortppl.method import Method, Spec
from amortppl.posterior.draws import states
from amortppl.posterior.padding import pad
from amortppl.runtime.arguments import expect_seed, expect_whole
from amortppl.runtime.batched_map import batched_map
from amortppl.runtime.compilation import Compiled
from amortppl.runtime.seeds import seed_key
from amortppl.simulators.stored import Stored
from amortppl.simulators.table import Table
from amortppl.task.simulation_task import SimulationTask
from amortppl.task.stored_source import stored_source

OUTSIDE, DRAWS = 1e-3, 20_000
"""Share of the posterior's draws that a region may leave out, and draws it is found by."""

BLOCK, MOST = 16_384, 4_000_000
"""Prior draws that are looked at together, and at most in a round."""

Arrays = dict[str, np.ndarray]


def train_rounds(
    task: SimulationTask,
    data: Any,
    method: str | Spec = "parametric",
    *,
    rounds: int = 3,
    simulations: int = 2000,
    seed: int = 0,
    progress: bool = True,
    **schedule: Any,
) -> Guide:
    """Trains a guide for one dataset, with simulations where its posterior can be.

    A first round learns from simulations of all of the prior: those that the task has, or as many
    as `simulations`. Every further round adds simulations at prior draws in the region of the
    round before, and trains anew on all.

    Args:
        task: of `Task.from_simulator`, with all latents as targets.
        data: the dataset.
        method: as of `ap.train`; one that has a posterior over the latents.
        rounds: how often to train.
        simulations: to add in each round.
        seed: of simulations and training.
        progress: whether to report while training.
        schedule: as of `ap.train`, for each round.

    Returns:
        A guide for this dataset alone; of others its posteriors are wrong.

    Raises:
        ModelError: a task that is not of a simulator, or whose simulator needs other latents; or no
            prior draw lies where the posterior is.

    Warns:
        SimulationWarning: simulations failed, or a region is so small that fewer prior draws than
            `simulations` lie in it.

    Example:
        >>> import amortppl as ap, jax.random as jr, numpyro.distributions as dist
        >>> def simulate(mean, key):
        ...     return mean + 0.1 * jr.normal(key, (3,))
        >>> task = ap.Task.from_simulator({"mean": dist.Normal(0, 1)}, simulate)
        >>> method = ap.method("parametric", density="gaussian", width=4, hidden=8)
        >>> few = {"simulations": 600, "steps": 1, "progress": False}  # some thousand in earnest
        >>> guide = ap.train_rounds(task, {"x": [0.1, 0.0, 0.2]}, method, rounds=2, **few)
        >>> guide.task.stored.size
        1200
    """
    _expect_simulator(task)
    expect_whole("train_rounds: rounds", rounds, 1, error=ModelError)
    expect_whole("train_rounds: simulations", simulations, 1, error=ModelError)
    expect_seed(seed, ModelError)
    dataset = read(task, data)
    spec = catalogue.method(method) if isinstance(method, str) else method
    key, table = jr.fold_in(seed_key(seed), 37), _stored_rows(task, dataset.rows)
    if table is None:
        prior = jax.vmap(task.source.draw_prior)(jr.split(jr.fold_in(key, 0), simulations))
        table = _simulate(task, prior, jr.fold_in(key, 1), dataset.rows)
    for number in range(rounds):
        guide = train(
            _of_table(task, table, dataset), spec, seed=seed, progress=progress, **schedule
        )
        if number == rounds - 1:
            break
        keys = jr.split(jr.fold_in(key, 2 + number), 3)
        values = _prior_inside(task, guide.method, dataset, keys, simulations)
        added = _simulate(task, values, keys[2], dataset.rows)
        table = Table(
            *({n: np.concatenate([a[n], b[n]]) for n in a} for a, b in _sides(table, added))
        )
    return guide


def _sides(one: Table, other: Table) -> list[tuple[Arrays, Arrays]]:
    return [(one.latents, other.latents), (one.data, other.data)]


def _expect_simulator(task: Any) -> None:
    if not isinstance(task, SimulationTask) or task.source.predict is None:
        why = getattr(getattr(task, "source", None), "why_not", "") or "it is of another kind"
        raise ModelError(
            "train_rounds: expected a task of Task.from_simulator with all its latents as targets, "
            f"whose simulator can be run anew; {getattr(task, 'name', task)!r} cannot: {why}"
        )


def _stored_rows(task: SimulationTask, rows: int) -> Table | None:
    """The simulations that a task has, their first rows."""
    if task.stored is None:
        return None
    latents, data = task.stored.take(np.arange(task.stored.size))
    return Table(latents, data if task.block else {n: v[:, :rows] for n, v in data.items()})


def _of_table(task: SimulationTask, table: Table, dataset: Dataset) -> SimulationTask:
    """The task of these simulations, of as many rows as the dataset has."""
    source = stored_source(Stored(table), task.source.supports, "", task.source.simulator)
    again = source._replace(
        predict=task.source.predict,
        compiled=task.source.compiled,
        log_prior=task.source.log_prior,
        draw_prior=task.source.draw_prior,
    )
    rows = None if task.block else dataset.rows
    labels = {"ordered": task.ordered, "dims": task.dims, "coords": task.coords}
    return SimulationTask(again, rows, name=task.name, **labels)


def _simulate(task: SimulationTask, values: Any, key: Array, rows: int) -> Table:
    """Runs the simulator at latents with a leading axis; those that fail are left out."""
    count = len(next(iter(values.values())))
    predict = task.source.predict
    assert predict is not None  # `_expect_simulator`
    run = lambda k, v: predict(k, v, rows)  # noqa: E731
    data = jax.jit(jax.vmap(run))(jr.split(key, count), values)
    table = [{n: np.asarray(v, np.float32) for n, v in side.items()} for side in (values, data)]
    fine = np.all([np.isfinite(v).reshape(count, -1).all(1) for v in table[1].values()], 0)
    if not fine.all():
        warnings.warn(
            f"{task.name}: {np.sum(~fine)} of {count} simulations failed and are left out",
            SimulationWarning,
            stacklevel=3,
        )
    return Table(*({n: v[fine] for n, v in side.items()} for side in table))


def _prior_inside(
    task: SimulationTask, method: Method, dataset: Dataset, keys: Array, wanted: int
) -> dict[str, Array]:
    """Prior draws where the posterior of a dataset has its mass."""
    state = states(method, jax.tree.map(lambda a: a[None], pad(method.task, dataset)))
    least = jnp.quantile(_draw_heights(method, state, keys[0]), OUTSIDE)
    kept, looked = [], 0
    while sum(len(next(iter(v.values()))) for v in kept) < wanted and looked < MOST:
        values, inside = _look(task, method, state, jr.fold_in(keys[1], looked), least)
        places = np.flatnonzero(np.asarray(inside))
        kept.append({n: np.asarray(v)[places] for n, v in values.items()})
        looked += BLOCK
    together = {n: jnp.asarray(np.concatenate([v[n] for v in kept])[:wanted]) for n in kept[0]}
    count = len(next(iter(together.values())))
    if not count:
        raise ModelError(
            f"train_rounds: none of {looked} prior draws lies where the first rounds see the "
            f"posterior of this dataset, so that {task.name} has nothing more to simulate. The "
            "dataset may be unlike all simulations (`infer` of a guide of `ap.train` tells, by "
            "`distance_p`), or the prior much wider than the posterior: simulate more in each round"
        )
    if count < wanted:
        warnings.warn(
            f"{task.name}: {count} of {looked} prior draws lie where the posterior is, and "
            f"{wanted} simulations were asked for; the round has so many",
            SimulationWarning,
            stacklevel=3,
        )
    return together


@Compiled
def _draw_heights(method: Method, state: Any, key: Array) -> Array:
    """Log densities of the posterior at its own draws."""
    return method.readout(jax.tree.map(lambda a: a[0], state)).sample(key, DRAWS)[1]


@Compiled
def _look(
    task: SimulationTask, method: Method, state: Any, key: Array, least: Array
) -> tuple[dict[str, Array], Array]:
    """Prior draws, and which of them the posterior gives at least that density."""
    readout = method.readout(jax.tree.map(lambda a: a[0], state))
    values = jax.vmap(task.source.draw_prior)(jr.split(key, BLOCK))
    heights = batched_map(lambda v: readout.log_prob(task.vector(v)), values, 4096)
    return values, heights >= least
