"""A million rows through the whitened update: memory, and the error of the mean.

    python docs/paper stream [--method "parametric, whitened"]

Memory is that of the process at the states that come out. The source cannot tell: its rows are read
ahead while the first step is still being compiled, which takes some 260 MiB.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from amortppl.models.known_noise_regression import NOISE

import amortppl as ap
from amortppl.training.record import Record
from paper.contenders import PLAN
from paper.results import RESULTS
from paper.run import restored

ROWS, CHUNK, COVARIATES = 1_000_000, 4000, 5


class Line:
    """Rows of one line, a chunk at a time, and the exact posterior of those that came."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.weights = self.rng.standard_normal(COVARIATES)
        self.precision, self.linear = np.eye(COVARIATES), np.zeros(COVARIATES)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for _ in range(ROWS // CHUNK):
            x = self.rng.standard_normal((CHUNK, COVARIATES)).astype(np.float32)
            noise = NOISE * self.rng.standard_normal(CHUNK)
            y = (x @ self.weights + noise).astype(np.float32)
            self.precision += x.T.astype(np.float64) @ x / NOISE**2
            self.linear += x.T.astype(np.float64) @ y / NOISE**2
            yield {"x": x, "y": y}


def resident() -> float:
    """MiB of memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Writes RESULTS/stream.json: a line for each method asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--method", nargs="*", default=["parametric, whitened", "parametric"])
    given = parser.parse_args()
    path = given.results / "stream.json"
    lines = json.loads(path.read_text()) if path.exists() else {}
    for name in given.method:
        built = restored(given.results, "line5", name, 0)
        guide = ap.Guide(built, PLAN["line5"][name].spec, Record(device="cpu"), 0)
        line, begun, state, taken = Line(1), time.process_time(), None, []
        for after in guide.stream(ap.batches(iter(line), size=CHUNK), progress=False):
            state = after  # no list of states is kept
            taken.append(resident())
        posterior, covariance = guide.posterior(state), np.linalg.inv(line.precision)
        own = posterior.scale.restore(posterior.frame.location)
        sd = np.sqrt(np.diag(covariance))
        away = (np.asarray(own, np.float64) - covariance @ line.linear) / sd
        spread = np.asarray(posterior.frame.inverse()) * np.asarray(posterior.scale.scale)
        lines[name] = {
            "cpu": round(time.process_time() - begun, 1),
            "rms error in sds": float(np.sqrt(np.mean(away**2))),
            "ratio of sds": float(np.mean(np.sqrt(np.sum(spread**2, 0)) / sd)),
            "MiB after the first mini-batch": taken[0],
            "MiB after a quarter": taken[len(taken) // 4],
            "MiB at the end": taken[-1],
            "date": time.strftime("%Y-%m-%d"),
        }
        print(name, lines[name], flush=True)
        path.write_text(json.dumps(lines))
