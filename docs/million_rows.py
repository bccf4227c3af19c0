"""A guide trained on at most 512 rows, given up to ten million: the table and the figure of
million_rows.md.

    python docs/million_rows.py

Logistic regression with ten covariates, from Parquet, each run in a process of its own; the truth
is the posterior mean and covariance by Laplace and its next order, on all rows in float64.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

import amortppl as ap

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from benchmarks.test_million_rows import compared, task_of, truth

ROWS = [512, 4096, 32_768, 262_144, 1_000_000, 10_000_000]
DATASETS = 3
SIZES = [512, 4096]
HEAD = [
    "rows",
    "mini-batch",
    "error of the mean, sds",
    "sd ratio, least",
    "sd ratio, most",
    "MB above idle",
    "seconds",
]
HERE = Path(__file__).parent

STREAM = """
import json, resource, sys, time
import amortppl as ap, jax, numpy as np
sys.path.append(sys.argv[3])
from benchmarks.test_million_rows import frame, last
guide = ap.load(sys.argv[1])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
idle = peak()
for size in json.loads(sys.argv[4]):
    frame(last(guide, ap.batches(sys.argv[2], size)))
    begin = time.perf_counter()
    found = frame(last(guide, ap.batches(sys.argv[2], size)))
    print(json.dumps([peak() - idle, time.perf_counter() - begin, *(f.tolist() for f in found)]))
"""


def dataset(rows, seed):
    """x (N, 10), y (N,)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 10), np.float32)
    y = rng.random(rows) < 1 / (1 + np.exp(-x @ np.linspace(-1, 1, 10)))
    return {"x": x, "y": y.astype(np.int32)}


def run(folder, task, rows, seed):
    """A line for each size of mini-batches; the second of two passes over the file is timed,
    compiled.
    """
    data, file = dataset(rows, seed), folder / "rows.parquet"
    columns = {f"x_{i}": data["x"][:, i] for i in range(10)} | {"y": data["y"]}
    pq.write_table(pa.table(columns), file, row_group_size=65_536)
    command = [
        sys.executable,
        "-c",
        STREAM,
        str(folder / "guide"),
        str(file),
        sys.path[-1],
        json.dumps(SIZES),
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    answers = [json.loads(line) for line in out.splitlines()]
    found = [tuple(np.array(a) for a in answer[2:]) for answer in answers]
    true = truth(task, data, found[-1][0], mean=True)
    return [[*compared(f, true), *answer[:2]] for f, answer in zip(found, answers, strict=True)]


def table():
    """The mean over datasets of each number of rows; the extremes of the ratios, the most of the
    memory.
    """
    task = task_of("anchor")
    with TemporaryDirectory() as name:
        ap.train(task, steps=150, seed=0, progress=False).save(Path(name) / "guide")
        for rows in ROWS:
            each = np.array([run(Path(name), task, rows, seed) for seed in range(DATASETS)])
            for size, (error, low, high, memory, seconds) in zip(
                SIZES, np.moveaxis(each, 0, -1), strict=True
            ):
                found = [error.mean(), low.min(), high.max(), memory.max(), seconds.mean()]
                line = [rows, size, *(float(f"{v:.4g}") for v in found)]
                print(line, flush=True)
                yield line


def figure(lines):
    """Error and time against rows, a line for each size of mini-batches."""
    picture = Figure(figsize=(8, 3.4), layout="constrained")
    panels = picture.subplots(1, 2)
    for size, marker in zip(SIZES, "os", strict=True):
        rows, _, error, _, _, _, seconds = np.array([line for line in lines if line[1] == size]).T
        for panel, values in zip(panels, (error, seconds), strict=True):
            panel.plot(rows, values, marker=marker, label=f"mini-batches of {size}")
    panels[1].plot(
        rows,
        seconds[-1] * rows / rows[-1],
        color="0.6",
        linestyle="--",
        label="proportional to rows",
    )
    for panel, title in zip(
        panels, ("error of the mean, posterior sds", "seconds for a pass, compiled"), strict=True
    ):
        panel.axvline(512, color="0.8", zorder=0)
        panel.set(xscale="log", yscale="log", xlabel="rows (trained on at most 512)", title=title)
        panel.yaxis.set_major_formatter("{x:g}")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    panels[1].legend(frameon=False)
    picture.savefig(HERE / "million_rows.png", dpi=110)


if __name__ == "__main__":
    lines = list(table())
    with open(HERE / "million_rows.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEAD, *lines])
    figure(lines)
