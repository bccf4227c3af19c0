"""Simulations kept as they come: in memory, or in a folder of Parquet files that a later run reads.

    FOLDER/simulations.json        what they are of: names, shapes, seed, prior, simulator
    FOLDER/part-000000.parquet     a row a simulation: its number, `theta.NAME`, `x.NAME`, `failure`

A part is written under a temporary name and renamed, every `SECONDS` or after a hundredth of the
time so far, so that a killed run loses no more than that.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from amortppl.errors import ModelError, quoted
from amortppl.runtime.files import write
from amortppl.simulators.worker import Outcome

ABOUT, FORMAT, SECONDS, SHARE = "simulations.json", 1, 2.0, 0.01

FIRST = 20
"""Simulations after which a run stops if all have failed, or nine in ten."""

Shapes = dict[str, tuple[int, ...]]


class Store:
    """Simulations of one simulator, by number.

    Attributes:
        shapes: of the simulator's output by name, once one has succeeded.
        numbers: of the simulations made.
        failures: how many failed in which way.
        misshapen: outputs of this run with other names or shapes than the first.

    Args:
        path: the folder; None for memory. Where nearly all of its simulations failed, those that
            did are made again.
        identity: what runs must agree on to be of the same simulations.

    Raises:
        ModelError: the folder holds something else, or simulations of another identity.
    """

    def __init__(self, path: str | Path | None, latents: Shapes, identity: dict[str, Any]) -> None:
        self.path, self.latents = (None if path is None else Path(path)), latents
        self.identity = {"format": FORMAT, "latents": _listed(latents), **identity}
        self.shapes: Shapes | None = None
        self.numbers: set[int] = set()
        self.failures: Counter[str] = Counter()
        self.misshapen = 0
        self.tables: list[pa.Table] = []
        self.waiting: list[tuple] = []
        self.begin = self.written = time.monotonic()
        if self.path is not None and self.path.exists():
            self._reopen(self.path)

    def add(
        self, numbers: Sequence[int], values: Mapping[str, np.ndarray], outcomes: Sequence[Outcome]
    ) -> None:
        """Keeps the outcomes of n draws of the latents, (n, ...) by name.

        The first output says what shapes there are; an output of others is a failure.
        """
        outcomes = [self._expect_shapes(o) for o in outcomes]
        self.numbers.update(numbers)
        self.failures.update(o for o in outcomes if isinstance(o, str))
        self.waiting.append((list(numbers), values, outcomes))
        now = time.monotonic()
        if now - self.written > max(SECONDS, SHARE * (now - self.begin)):
            self.flush()

    def flush(self) -> None:
        """Writes what has come since the last part."""
        if not self.waiting or self.shapes is None:
            return
        table = pa.concat_tables(_table(*w, self.latents, self.shapes) for w in self.waiting)
        self.waiting, self.written = [], time.monotonic()
        if self.path is None:
            self.tables.append(table)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        about = self.identity | {"data": _listed(self.shapes)}
        write(self.path / ABOUT, json.dumps(about, indent=1).encode())
        part, taken = f"part-{table['simulation'][0].as_py():09d}", len(self.parts())
        part = f"{part}-{taken}" if (self.path / f"{part}.parquet").exists() else part
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write(self.path / f"{part}.parquet", sink.getvalue().to_pybytes())

    def parts(self) -> list[Any]:
        """Tables in memory, or paths of Parquet files."""
        return self.tables if self.path is None else sorted(self.path.glob("part-*.parquet"))

    def _expect_shapes(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, str):
            return outcome
        shapes = {n: v.shape for n, v in outcome.items()}
        if self.shapes is None:
            self.shapes = shapes
        if shapes == self.shapes:
            return outcome
        self.misshapen += 1
        if shapes.keys() != self.shapes.keys():
            return f"gave {quoted(shapes)} where others gave {quoted(self.shapes)}"
        name = next(n for n in shapes if shapes[n] != self.shapes[n])
        return f"gave {name!r} of shape {shapes[name]} where others have {self.shapes[name]}"

    def _reopen(self, path: Path) -> None:
        if not (path / ABOUT).is_file():
            if path.is_dir() and not any(path.iterdir()):
                return
            raise ModelError(
                f"path: {path} exists and holds no simulations; name another folder for them"
            )
        about = json.loads((path / ABOUT).read_text())
        other = [n for n, v in self.identity.items() if about.get(n) != v]
        if other:
            raise ModelError(
                f"path: {path} holds simulations with another {', '.join(other)}: "
                f"{[about.get(n) for n in other]} there, {[self.identity[n] for n in other]} here. "
                "Name another folder, or go back to what they were made with; they stay as they "
                "are. To learn from them as they are: Task.from_simulations(path)"
            )
        self.shapes = _shapes(about["data"])
        failed: dict[int, str] = {}
        for part in self.parts():
            table = pq.read_table(part, columns=["simulation", "failure"]).to_pydict()
            words = dict(zip(table["simulation"], table["failure"], strict=True))
            self.numbers.update(n for n, w in words.items() if w is None)
            failed |= {n: w for n, w in words.items() if w is not None}
        failed = {n: w for n, w in failed.items() if n not in self.numbers}
        if not too_many(len(failed), len(failed) + len(self.numbers)):
            self.numbers.update(failed)
            self.failures.update(failed.values())


def too_many(failed: int, made: int) -> bool:
    """Whether a simulator fails so often that something is wrong with it."""
    return made >= FIRST and failed > 0.9 * made


def read_about(path: Path) -> tuple[Shapes, Shapes]:
    """Shapes of the latents and of the data in a folder of simulations.

    Raises:
        ModelError: it is none.
    """
    try:
        about = json.loads((path / ABOUT).read_text())
        return _shapes(about["latents"]), _shapes(about["data"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: expected a folder of simulations with {ABOUT}, as Task.from_simulator "
            f"writes it ({type(error).__name__}: {error})"
        ) from error


def _table(
    numbers: Sequence[int],
    values: Mapping[str, np.ndarray],
    outcomes: Sequence[Outcome],
    latents: Shapes,
    shapes: Shapes,
) -> pa.Table:
    """A row a simulation; of failures the output is null."""
    failed = np.array([isinstance(o, str) for o in outcomes])
    columns = {"simulation": pa.array(numbers, pa.int64())}
    for name, shape in latents.items():
        stacked = np.asarray(values[name], np.float32).reshape(len(numbers), *shape)
        columns[f"theta.{name}"] = _column(stacked, np.zeros_like(failed))
    for name, shape in shapes.items():
        empty = np.zeros(shape, np.float32)
        stacked = np.stack([empty if isinstance(o, str) else o[name] for o in outcomes])
        columns[f"x.{name}"] = _column(stacked, failed)
    words = [o if isinstance(o, str) else None for o in outcomes]
    return pa.table(columns | {"failure": pa.array(words, pa.string())})


def _column(stacked: np.ndarray, null: np.ndarray) -> pa.Array:
    """(n, ...) as a column of numbers, or of lists of fixed size."""
    size = prod(stacked.shape[1:])
    flat = pa.array(stacked.reshape(-1), pa.float32())
    if stacked.ndim == 1:
        return pa.array(stacked, pa.float32(), mask=null)
    return pa.FixedSizeListArray.from_arrays(flat, size, mask=pa.array(null))


def _listed(shapes: Shapes) -> dict[str, list[int]]:
    return {n: list(s) for n, s in sorted(shapes.items())}


def _shapes(listed: Mapping[str, Sequence[int]]) -> Shapes:
    return {n: tuple(s) for n, s in listed.items()}
