"""What two local workers of Dask and of Ray do beside one: datasets a second of wall clock, and CPU
seconds a dataset.

Each worker notes when it began and ended each part and what CPU it took; its first part, in which
it compiles, is left out. On a busy machine two processes get more of it than one, so the ratio of
rates can exceed what an idle one would show; that CPU a dataset does not grow is what carries over.
"""

import os
import time
from functools import cache

import numpy as np
import pandas as pd
import pytest

import amortppl as ap

DATASETS, PARTS, DRAWS = 256, 5, 1000
"""Datasets of a part, parts of each worker, draws."""


COLUMNS = [f"x{i}" for i in range(5)]


@cache
def guide_of(folder):
    """Read once by a worker; cloudpickle sends the function with its cache."""
    return ap.load(folder)


def answer(part, folder):
    """Of a part: which worker, wall and CPU seconds, datasets."""
    begin, cpu = time.time(), time.process_time()
    done = guide_of(folder).map_batches(part, by="patient", draws=DRAWS, columns={"x": COLUMNS})
    return pd.DataFrame(
        {
            "worker": [os.getpid()],
            "begin": [begin],
            "wall": [time.time() - begin],
            "cpu": [time.process_time() - cpu],
            "datasets": [done["patient"].nunique()],
        }
    )


class Answer:
    """`answer`, as Ray's actors have it."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, part):
        return answer(part, self.folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    guide = ap.train(ap.model("linear_regression"), steps=1, batch=8, progress=False)
    return str(guide.save(tmp_path_factory.mktemp("workers") / "guide"))


def table(workers):
    """`PARTS` parts for each worker, datasets of 33 to 64 rows: one padded size."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(33, 65, DATASETS * PARTS * workers)
    who = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(size=(len(who), 5))
    frame = pd.DataFrame(x, columns=COLUMNS)
    return frame.assign(y=x.sum(1) + rng.normal(size=len(who)), patient=who)


def by_dask(folder, workers):
    dd = pytest.importorskip("dask.dataframe", reason="the extra `dask` is not installed")
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    meta = {"worker": int, "begin": float, "wall": float, "cpu": float, "datasets": int}

    def part(frame, folder=folder):
        return answer(frame.reset_index(), folder)

    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        parts = dd.from_pandas(table(workers).set_index("patient"), npartitions=PARTS * workers)
        return parts.map_partitions(part, meta=meta).compute()


def by_ray(folder, workers):
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    ray.init(num_cpus=workers + 1, include_dashboard=False, log_to_driver=False)
    try:
        frame = table(workers)
        share = frame["patient"] // DATASETS
        parts = [ray.put(own) for _, own in frame.groupby(share)]
        rows = ray.data.from_pandas_refs(parts).map_batches(
            Answer,
            fn_constructor_args=(folder,),
            batch_size=None,
            batch_format="pandas",
            concurrency=workers,
        )
        return rows.to_pandas()
    finally:
        ray.shutdown()


def rates(done):
    """Datasets a second of all workers together, CPU ms a dataset, CPU seconds a wall second."""
    warm = done.sort_values("begin").groupby("worker").tail(-1)  # all but a worker's first part
    own = warm.groupby("worker")[["wall", "cpu", "datasets"]].sum()
    together = (own["datasets"] / own["wall"]).sum()
    return (
        together,
        1e3 * own["cpu"].sum() / own["datasets"].sum(),
        (own["cpu"] / own["wall"]).sum(),
    )


@pytest.mark.filterwarnings(  # Ray forks and leaves files open
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::ResourceWarning",
    r"ignore:os.fork\(\) was called:RuntimeWarning",
)
@pytest.mark.parametrize("engine", [by_dask, by_ray])
def test_two_workers_beside_one(engine, folder, say, monkeypatch):
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # workers start as this process did
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default 15: a busy machine starves them
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", "600")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["tests", os.environ.get("PYTHONPATH", "")]))
    (one, cpu, used), (two, cpu_two, used_two) = (rates(engine(folder, n)) for n in (1, 2))
    say(f"{engine.__name__}: one worker {one:.0f} datasets a second, {cpu:.2f} CPU ms each, "
        f"{used:.2f} cores; two {two:.0f}, {cpu_two:.2f}, {used_two:.2f}; ratio {two / one:.2f}, "
        f"of CPU a dataset {cpu_two / cpu:.2f}; load {os.getloadavg()[0]:.0f}")  # fmt: skip
    assert two > one
