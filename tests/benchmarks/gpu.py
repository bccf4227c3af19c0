"""What a GPU gains, in eight minutes: one row a measurement.

    python tests/benchmarks/gpu.py [--seconds 480] [--scale 1]

- training of a linear regression: simulated datasets a second, and the device's utilisation;
- one pass over a million rows, the first time (compiling too) and again;
- the posteriors of a hundred thousand datasets of 32 rows, as a table;
- seconds of training to z <= 0.05: the root mean square, over datasets and latents, of the error of
  the mean in posterior sds, against the model's exact posterior. It comes last and takes the time
  that is left.

`--scale 0.01` makes all sizes a hundredth, to see on any machine that it runs; `--only NAME` makes
one measurement. After `--seconds` the script names what it is at, and ends.
"""

import argparse
import os
import shutil
import subprocess
import threading
import time
import warnings
from functools import cache

import jax
import jax.random as jr
import numpy as np
import pandas as pd

import amortppl as ap

BATCHES = (128, 1024, 8192)
"""Tasks of an update."""

BUDGETS = (10.0, 20.0, 40.0, 80.0)
"""Seconds of training that are tried for z."""

ENOUGH = 0.05


class Utilisation:
    """The share of time in which the GPU computes, while a block runs; None without nvidia-smi."""

    def __enter__(self):
        self.seen, self.over = [], threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        if shutil.which("nvidia-smi"):
            self.thread.start()
        return self

    def _look(self):
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self.over.wait(0.5):
            done = subprocess.run(query, capture_output=True, text=True, check=False)
            self.seen += [float(line) for line in done.stdout.split("\n")[:1] if line.strip()]

    def __exit__(self, *_):
        self.over.set()
        if self.thread.ident:
            self.thread.join()

    def __str__(self):
        return f"{np.mean(self.seen):.0f}% busy" if self.seen else "utilisation not known"


def scaled(count, scale):
    """A size times the scale, at least 16."""
    return max(16, int(count * scale))


@cache
def briefly_trained():
    """A guide whose answers are timed, not judged."""
    return ap.train(ap.model("linear_regression"), steps=25, progress=False)


def training(scale):
    """Simulated datasets a second, by the batch of an update."""
    for batch in BATCHES:
        with Utilisation() as busy, ap.timings() as spent:
            begin = time.perf_counter()
            guide = ap.train(
                ap.model("linear_regression"), steps=scaled(200, scale) // 25 * 25 or 25,
                batch=scaled(batch, scale), progress=False,
            )  # fmt: skip
            seconds = time.perf_counter() - begin
        running = max(seconds - spent.total.preparing, 1e-9)
        rate = guide.record.tasks / running
        yield f"batch {scaled(batch, scale)}: {rate:,.0f} simulated datasets/s, {busy}"


def accuracy(scale):
    """Seconds of training until z is small enough."""
    from amortppl.models.linear_regression import exact_posterior

    task = ap.model("linear_regression")
    keys = jr.split(jr.key(1000), scaled(200, scale))
    drawn = jax.jit(jax.vmap(lambda k: task.simulate(k, 100).data))(keys)
    datasets = [{n: np.asarray(v[i]) for n, v in drawn.items()} for i in range(len(keys))]
    exact = [exact_posterior(d, jr.key(i), 20_000) for i, d in enumerate(datasets)]
    for budget in BUDGETS:
        begin = time.perf_counter()
        guide = ap.train(
            task, minutes=budget * scale**0.5 / 60, batch=scaled(1024, scale), progress=False
        )
        seconds = time.perf_counter() - begin
        posterior = guide.infer(datasets, draws=4000, predictive=False, log_likelihood=False)
        means = {n: posterior["posterior"][n].values.mean((1, 2)) for n in exact[0]}
        off = [
            (means[n][i] - truth[n].mean(0)) / truth[n].std(0)
            for i, truth in enumerate(exact)
            for n in truth
        ]
        z = np.sqrt(np.mean(np.concatenate([np.ravel(o) for o in off]) ** 2))
        yield f"{seconds:.0f} s of training, compiling too: z = {z:.3f}"
        if z <= ENOUGH:
            return


def many_rows(scale):
    """One pass over a million rows."""
    guide = briefly_trained()
    rows, rng = scaled(1_000_000, scale), np.random.default_rng(0)
    x = rng.normal(size=(rows, 5)).astype(np.float32)
    data = {"x": x, "y": x @ np.ones(5, np.float32) + rng.normal(size=rows).astype(np.float32)}
    for time_ in ("first", "again"):
        with Utilisation() as busy:
            begin = time.perf_counter()
            guide.infer(ap.batches(data, size=min(16_384, rows)))
            seconds = time.perf_counter() - begin
        yield f"{rows:,} rows, {time_}: {seconds:.2f} s, {rows / seconds:,.0f} rows/s, {busy}"


def many_datasets(scale):
    """Posteriors of datasets of 32 rows, as a table."""
    guide = briefly_trained()
    count, rng = scaled(100_000, scale), np.random.default_rng(0)
    columns = {"x": [f"x_{i}" for i in range(5)], "y": "y"}
    frame = pd.DataFrame(rng.normal(size=(32 * count, 5)), columns=columns["x"])
    frame["y"] = frame.sum(axis=1) + rng.normal(size=len(frame))
    frame["dataset"] = np.repeat(np.arange(count), 32)
    first = frame[frame["dataset"] < 512]
    guide.map_batches(first, by="dataset", draws=500, columns=columns)  # compiles
    with Utilisation() as busy:
        begin = time.perf_counter()
        guide.map_batches(frame, by="dataset", draws=500, columns=columns)
        seconds = time.perf_counter() - begin
    yield f"{count:,} datasets: {seconds:.1f} s, {1e3 * seconds / count:.2f} ms each, {busy}"


def end(begin, at):
    """Ends the process, whatever it computes or compiles."""
    print(f"{at[0]}: cut off, the time is over  [{time.perf_counter() - begin:.0f} s]", flush=True)
    os._exit(0)


def main():
    """Prints a line for each measurement as it begins, and as it is made."""
    measures = {m.__name__: m for m in (training, many_rows, many_datasets, accuracy)}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", choices=measures)
    given, begin, at = parser.parse_args(), time.perf_counter(), [""]
    warnings.simplefilter("ignore")  # of data that nobody asked about
    watch = threading.Timer(given.seconds, end, (begin, at))
    watch.daemon = True
    watch.start()
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}", flush=True)
    for name in [given.only] if given.only else measures:
        at[0] = name
        print(f"{name}: begins  [{time.perf_counter() - begin:.0f} s]", flush=True)
        for line in measures[name](given.scale):
            print(f"{name}: {line}  [{time.perf_counter() - begin:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
