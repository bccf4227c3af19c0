"""Rows a second and memory of checked blocks from Parquet, beside pyarrow reading the file
alone.
"""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS, COVARIATES = 10_000_000, 10

READ = """
import json, sys, time
import numpy as np, numpyro, numpyro.distributions as dist, pyarrow.parquet as pq
import amortppl as ap

path, what, shuffle = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

def model(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

# The most so far, in MB; not ru_maxrss, which a process inherits from the one that started it
def memory():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1e3

def alone():
    return sum(b.num_rows for b in pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False).iter_batches())

def blocks():
    return sum(len(b.arrays["y"]) for b in ap.batches(path, shuffle=shuffle).blocks(task))

task = ap.Task(model, {"x": dist.Normal(0, 1).expand([10])})
list(ap.batches({"x": np.zeros((5, 10)), "y": np.zeros(5)}).blocks(task))
idle, wall, cpu = memory(), time.perf_counter(), time.process_time()
rows = {"alone": alone, "blocks": blocks}[what]()
print(json.dumps([rows, time.perf_counter() - wall, time.process_time() - cpu, memory() - idle]))
"""


@pytest.fixture(scope="module", params=["float32", "float64", "float64, one row group"])
def path(request, tmp_path_factory):
    """Ten covariates and an outcome of 0 and 1, as pyarrow writes them by default."""
    path, rng = (
        tmp_path_factory.mktemp("rows") / f"{request.param}.parquet",
        np.random.default_rng(0),
    )
    kind = np.dtype(request.param.split(",")[0])
    types = {f"x_{i}": pa.from_numpy_dtype(kind) for i in range(COVARIATES)}
    schema = pa.schema(types | {"y": pa.int32() if kind == np.float32 else pa.float64()})
    group = 1 << 20 if "," not in request.param else ROWS
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, ROWS, group):
            rows = min(group, ROWS - start)
            columns = [rng.standard_normal(rows, dtype=kind) for _ in range(COVARIATES)]
            y = pa.array(rng.integers(0, 2, rows)).cast(schema.field("y").type)
            writer.write_table(pa.table([*columns, y], schema=schema), row_group_size=group)
    yield path
    path.unlink()


def run(path, what, shuffle=None):
    arguments = [sys.executable, "-c", READ, str(path), what, json.dumps(shuffle)]
    return json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def test_blocks_beside_the_file_alone(path, say):
    """10,000,000 rows, eleven columns, each run in a process of its own."""
    for what, shuffle in [("alone", None), ("blocks", None), ("blocks", 0)]:
        rows, wall, cpu, memory = run(path, what, shuffle)
        name = what + ("" if shuffle is None else ", shuffled")
        speed = (
            f"{rows / wall / 1e6:.1f} million rows a second, {rows / cpu / 1e6:.1f} a CPU second"
        )
        say(f"{path.stem}, {name}: {speed}, {memory:.0f} MB above idle")
        assert rows == ROWS
        if what == "blocks" and shuffle is None:
            assert rows / cpu >= 4e6
            assert memory <= 150
