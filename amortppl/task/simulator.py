"""A task of a prior and a simulator: the body of `Task.from_simulator`."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from amortppl.errors import ModelError, SimulationWarning, quoted
from amortppl.runtime.arguments import expect_seed, expect_whole
from amortppl.simulators.prior import Prior
from amortppl.simulators.run import run_simulations, tell_failures
from amortppl.simulators.signature import read_signature
from amortppl.simulators.store import Store
from amortppl.simulators.stored import Stored
from amortppl.simulators.table import read_store
from amortppl.simulators.targets import Chosen, Targets, choose, expect_continuous
from amortppl.simulators.worker import Call
from amortppl.task.inputs import row_range
from amortppl.task.simulation_task import SimulationTask, Source
from amortppl.task.simulator_in_jax import compiled_source
from amortppl.task.simulator_in_python import python_predictor
from amortppl.task.stored_source import stored_source, tell_unusable

SIMULATIONS = 10_000
"""Simulations of a Python simulator, where nobody says how many."""


TRIED = 16
"""Draws of the prior that targets are computed of before anything is simulated."""


class Runs(NamedTuple):
    """How a simulator in Python is run; see `Task.from_simulator`."""

    simulations: int | None = None
    path: str | Path | None = None
    workers: int | None = None
    seed: int = 0
    held_out: float = 0.1
    progress: bool = True


def from_simulator(
    prior: Any,
    simulator: Callable[..., Any],
    rows: tuple[int, int] | int | None,
    targets: Targets,
    runs: Runs,
    labels: dict[str, Any],
) -> SimulationTask:
    """See `Task.from_simulator`."""
    _expect_numbers(runs)
    prior, most = Prior(prior), (row_range(rows) or (None, None))[1]
    call = read_signature(simulator, list(prior.sites))
    if call.rows and most is None:
        raise ModelError(
            "rows: the simulator takes `rows`; say how many, as in rows=(20, 500) or rows=100"
        )
    chosen = choose(targets, list(prior.sites)) if targets is not None else _all(prior)
    expect_continuous(chosen, prior.sites)
    missing = [n for n, s in prior.sites.items() if s.sampled and n not in chosen.names]
    why_not = _why_not(missing) if missing else ""
    name = labels.pop("name", None) or getattr(simulator, "__name__", type(simulator).__name__)
    if call.random == "key":
        _refuse_options(simulations=runs.simulations, path=runs.path, workers=runs.workers)
        source = compiled_source(prior, call, chosen, most, why_not)
    else:
        source = _python_source(name, prior, call, chosen, most, why_not, runs)
        tell_unusable(name, source.stored)
    if not missing and not chosen.functions:
        drawn = lambda key: {n: v for n, v in prior.draw(key).items() if n in chosen.names}  # noqa: E731
        source = source._replace(log_prior=prior.log_density, draw_prior=drawn)
    return SimulationTask(source, rows, name=name, **labels)


def _python_source(
    name: str,
    prior: Prior,
    call: Call,
    chosen: Chosen,
    most: int | None,
    why_not: str,
    runs: Runs,
) -> Source:
    """A simulator in Python, run now."""
    total = runs.simulations or SIMULATIONS
    chosen.of_many({n: v[:TRIED] for n, v in prior.block(runs.seed, 0).items()})
    store = run_simulations(
        call, prior, total, most, runs.path, runs.workers, runs.seed, runs.progress
    )
    _tell(name, store)
    table = read_store(store)
    table = table._replace(latents=chosen.of_many(table.latents))
    stored = Stored(table, runs.held_out)
    sites = {n: s for n, s in prior.sites.items() if n in chosen.names}
    supports = {n: s.support for n, s in sites.items() if s.support is not None}
    source = stored_source(stored, supports, why_not, call.simulator)
    if why_not:
        return source
    shapes = {n: v.shape[1:] for n, v in stored.data.items()}
    return source._replace(predict=python_predictor(prior, call, shapes, most is None))


def _expect_numbers(runs: Runs) -> None:
    expect_seed(runs.seed, ModelError)
    for name in ("simulations", "workers"):
        if getattr(runs, name) is not None:
            expect_whole(name, getattr(runs, name), 1, error=ModelError)


def _all(prior: Prior) -> Chosen:
    """All latents that are drawn."""
    return Chosen(tuple(n for n, s in prior.sites.items() if s.sampled), {})


def _refuse_options(**options: Any) -> None:
    given = [n for n, v in options.items() if v is not None]
    if given:
        raise ModelError(
            f"{quoted(given)}: for simulators in Python. One that takes `key` is written in JAX "
            "and runs anew for every update of training; ap.train(task, simulations=10_000) "
            "learns from a fixed number"
        )


def _tell(name: str, store: Store) -> None:
    if store.failures:
        failed = sum(store.failures.values())
        warnings.warn(
            f"{name}: {failed} of {len(store.numbers)} simulations are left out: "
            f"{tell_failures(store)}. Posteriors are given that the simulator succeeds",
            SimulationWarning,
            stacklevel=5,
        )


def _why_not(missing: Sequence[str]) -> str:
    return (
        f"as the simulator needs {quoted(missing)} too, which are no targets and have no posterior "
        "here"
    )
