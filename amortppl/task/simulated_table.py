"""A task of simulations that are there already: the body of `Task.from_simulations`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpyro.distributions.constraints import Constraint

from amortppl.errors import DataError, ModelError, nearest, quoted
from amortppl.simulators.stored import Stored
from amortppl.simulators.table import Table, read_arrays, read_columns, read_folder
from amortppl.simulators.targets import Targets, choose
from amortppl.task.simulation_task import SimulationTask
from amortppl.task.stored_source import stored_source, tell_unusable


def from_simulations(
    latents: Any,
    data: Mapping[str, Any] | None,
    rows: tuple[int, int] | int | None,
    table: Any,
    supports: Mapping[str, Constraint] | None,
    targets: Targets,
    held_out: float,
    labels: dict[str, Any],
) -> SimulationTask:
    """See `Task.from_simulations`."""
    read = _read(latents, data, table)
    supports, names = dict(supports or {}), list(read.latents)
    chosen = choose(targets, names)
    unknown = [n for n in supports if n not in (*chosen.names, *chosen.functions)]
    if unknown:
        raise ModelError(
            f"supports: {quoted(unknown)} is no target (they are {quoted(chosen.names)})"
            f"{nearest(unknown[0], names)}"
        )
    wrong = [n for n, s in supports.items() if not isinstance(s, Constraint)]
    if wrong:
        raise ModelError(
            f"supports: expected constraints of numpyro.distributions by latent, as in "
            f"{{{wrong[0]!r}: dist.constraints.positive}}, got {type(supports[wrong[0]]).__name__}"
        )
    stored = Stored(read._replace(latents=chosen.of_many(read.latents)), held_out)
    why_not = "its simulations are a table and there is no simulator to run"
    source = stored_source(stored, supports, why_not)
    name = labels.pop("name", None) or "simulations"
    tell_unusable(name, stored)
    return SimulationTask(source, rows, name=name, **labels)


def _read(latents: Any, data: Any, table: Any) -> Table:
    if isinstance(latents, str | Path) and data is None and table is None:
        return read_folder(latents)
    if not (isinstance(latents, Mapping) and latents and isinstance(data, Mapping) and data):
        raise DataError(
            "from_simulations: expected two dicts, latents and data by name, of arrays or, with "
            "table=, of columns; or one path of a folder that from_simulator wrote; got "
            f"{type(latents).__name__} and {type(data).__name__}"
        )
    return read_arrays(latents, data) if table is None else read_columns(table, latents, data)
