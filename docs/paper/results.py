"""The lines that `python docs/paper run` wrote, as arrays over seeds and test tasks.

They are kept in docs/paper/results, so that tables can be extended; weights and clouds of points
beside them are not.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RESULTS = Path(__file__).parent / "results"
"""One JSON file a run, and one for each further part."""


class Curve(NamedTuple):
    """Log predictive densities of a method's queries, (seeds * tasks, K), and how it was trained.

    Attributes:
        lpd: in nats, the mean over the queries of a test task.
        depths: the numbers K of mini-batches.
        seeds: of its training.
        updates: in training, the median over seeds.
    """

    lpd: np.ndarray
    depths: tuple[int, ...]
    seeds: int
    updates: int

    @property
    def mean(self) -> np.ndarray:
        """At each K; the median over seeds of the mean over tasks."""
        return np.median(self.by_seed.mean(1), 0)

    @property
    def by_seed(self) -> np.ndarray:
        """(seeds, tasks, K)."""
        return self.lpd.reshape(self.seeds, -1, self.lpd.shape[1])


class Results:
    """All lines of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = [_read(p) for p in sorted(folder.glob("*/*.json"))]
        self.lines = {(line["task"], line["method"], line["seed"]): line for line in lines}

    def methods(self, task: str) -> list[str]:
        """Methods with a line on a task."""
        return list(dict.fromkeys(m for t, m, _ in self.lines if t == task))

    def seeds(self, task: str, method: str) -> list[dict[str, Any]]:
        """The lines of a method, one a seed."""
        return [v for (t, m, _), v in sorted(self.lines.items()) if (t, m) == (task, method)]

    def tests(self, task: str, method: str) -> list[str]:
        """The tests of a method on a task; none without a line."""
        return list(self.seeds(task, method)[0]["lpd"]) if method in self.methods(task) else []

    def caption(self, pairs: list[tuple[str, str]], part: str = "run") -> str:
        """How the lines of some (task, method) were made: seeds, seconds, dates, command."""
        lines = [line for t, m in pairs for line in self.seeds(t, m)]
        seeds = sorted({len(self.seeds(t, m)) for t, m in pairs})
        seconds = sorted({line["seconds"] for line in lines})
        dates = sorted({line["date"] for line in lines})
        few = " or ".join(f"{n:g}" for n in seeds)
        budget = " or ".join(f"{s:g}" for s in seconds)
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        plural = "" if seeds == [1] else "s"
        return (
            f"*{few} seed{plural}, {budget} CPU s of training, {when}, `python docs/paper {part}`*"
        )

    def curve(self, task: str, method: str, test: str) -> Curve:
        """Log predictive densities over all seeds."""
        lines = self.seeds(task, method)
        lpd = np.concatenate([np.asarray(line["lpd"][test]) for line in lines])
        updates = int(np.median([line["updates"] for line in lines]))
        return Curve(lpd, tuple(lines[0]["depths"]), len(lines), updates)

    def gap(self, task: str, method: str, test: str) -> np.ndarray:
        """Nats below the exact predictive, (seeds * tasks, K), on the same test tasks."""
        exact = {line["seed"]: np.asarray(line["lpd"][test]) for line in self.seeds(task, "exact")}
        lines = [line for line in self.seeds(task, method) if line["seed"] in exact]
        return np.concatenate(
            [
                exact[line["seed"]][: len(line["lpd"][test])] - np.asarray(line["lpd"][test])
                for line in lines
            ]
        )

    def has_exact(self, task: str) -> bool:
        """Whether the exact predictive was measured on a task."""
        return "exact" in self.methods(task)

    def extra(self, task: str, method: str, name: str, field: str) -> np.ndarray | None:
        """A further measure over seeds and tasks, or None where it is missing."""
        lines = [line for line in self.seeds(task, method) if field in line.get(name, {})]
        return np.concatenate([np.asarray(line[name][field]) for line in lines]) if lines else None


def _read(path: Path) -> dict[str, Any]:
    """A line; one that says no date was written on its file's."""
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d")
    return {"date": written} | json.loads(path.read_text())


def error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis."""
    return values.std(0) / np.sqrt(len(values))
