"""Trains and measures what docs/paper.md shows: one JSON line a run, runs that are there skipped.

    python docs/paper run [--only line5/implicit] [--seeds 3] [--seconds 20] [--full]

Then `python docs/paper tables` writes tables and figures.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.random as jr
import numpy as np

from amortppl.method import Method
from amortppl.runtime.compilation import run_once
from paper.contenders import PLAN, Contender
from paper.descent import OPTIMISERS, tuned
from paper.measure import QUERIES, curve, exact_curve
from paper.results import RESULTS
from paper.settings import Setting, drawn, setting
from paper.training import trained

TASKS, FEW = 128, 32
"""Test tasks of a method; of those that are not learned, which search anew for each."""


def measured(name: str, contender: Contender, seed: int, seconds: float) -> tuple[dict, Any]:
    """Log predictive densities of a method's queries on every test of a task, and the method."""
    own = setting(name)
    method, updates = trained(own.task, contender.spec, seconds, seed, **contender.schedule)
    tests = tested(method, name, seed, TASKS if updates else FEW)
    return {"updates": updates, "depths": own.depths, "lpd": tests}, method


def descended(name: str, optimiser: str, seed: int) -> dict[str, Any]:
    """The same of gradient steps on each task by itself, their rate tuned on others."""
    method, chosen = tuned(name, optimiser, seed)
    tests = tested(method, name, seed, TASKS)
    return {"updates": 0, "depths": setting(name).depths, "lpd": tests, "tuned": chosen}


def tested(method: Any, name: str, seed: int, tasks: int) -> dict[str, list]:
    """Log predictive densities on every test of a task."""
    own = setting(name)
    return {t: _test(method, own, name, t, seed, tasks) for t in own.tests}


def _test(method: Any, own: Setting, name: str, test: str, seed: int, tasks: int) -> list:
    data = drawn(name, test, seed, tasks, _rows(name, own) + QUERIES)
    return _short(curve(method, data, own.batch, own.depths))


def reference(name: str, seed: int) -> dict[str, Any]:
    """The same of the exact predictive."""
    own, tests = setting(name), {}
    assert own.exact is not None
    for test in own.tests:
        data = drawn(name, test, seed, TASKS, _rows(name, own) + QUERIES)
        tests[test] = _short(exact_curve(own.exact, data, own.batch, own.depths))
    return {"updates": 0, "depths": own.depths, "lpd": tests}


def _rows(name: str, own: Setting) -> int:
    return 100 if name == "order" else own.batch * max(own.depths)


def _short(values: np.ndarray) -> list:
    return np.round(values, 4).tolist()


def plan(only: list[str], seeds: int) -> list[tuple[str, str, int]]:
    """(task, method, seed) in the order of the runs: all of one seed before the next."""
    pairs = [(t, m) for t, methods in PLAN.items() for m in methods]
    pairs += [(t, "exact") for t in ("line5", "line100", "process", "weights")]
    pairs += [(t, m) for t in ("line5", "weights", "classes") for m in OPTIMISERS]
    named = {"/".join(p): p for p in pairs}
    chosen = [
        p
        for o in only or [""]
        for n, p in named.items()
        if (n == o if o in named else n.startswith(o))
    ]
    return [(t, m, s) for s in range(seeds) for t, m in dict.fromkeys(chosen)]


def run(name: str, method: str, seed: int, seconds: float, folder: Path) -> None:
    """One run, unless its line is there."""
    path = _place(folder, name, method, seed, "json")
    if path.exists():
        return
    begun = time.process_time()
    if method == "exact":
        line = reference(name, seed)
    elif method in OPTIMISERS:
        line = descended(name, method, seed)
    else:
        line, built = measured(name, PLAN[name][method], seed, seconds)
        path.parent.mkdir(parents=True, exist_ok=True)
        eqx.tree_serialise_leaves(_place(folder, name, method, seed, "eqx"), built)
    line = {"task": name, "method": method, "seed": seed, "seconds": seconds} | line
    line["date"] = time.strftime("%Y-%m-%d")
    line["cpu"] = round(time.process_time() - begun, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(line) + "\n")
    print(name, method, seed, line["updates"], line["cpu"], _gist(line), flush=True)


def restored(folder: Path, task: str, method: str, seed: int) -> Method:
    """A method as `python docs/paper run` kept it."""
    like = run_once(PLAN[task][method].spec.build, setting(task).task, jr.key(0))
    return eqx.tree_deserialise_leaves(_place(folder, task, method, seed, "eqx"), like)


def _place(folder: Path, task: str, method: str, seed: int, kind: str) -> Path:
    return folder / task / f"{method.replace(' ', '_')}-{seed}.{kind}"


def _gist(line: dict[str, Any]) -> dict[str, list[float]]:
    return {t: np.round(np.mean(v, 0), 3).tolist() for t, v in line["lpd"].items()}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="TASK/METHOD, or the beginning of it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of training, on one core")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--full", action="store_true", help="5 seeds, 60 s: ten minutes of a GPU")
    given = parser.parse_args()
    seeds, seconds = (5, 60.0) if given.full else (given.seeds, given.seconds)
    for name, method, seed in plan(given.only, seeds):
        run(name, method, seed, seconds, given.results)
