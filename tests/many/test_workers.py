"""Many datasets on two workers of Dask and of Ray: what one process gives."""

import numpy as np
import pandas as pd
import pytest

import amortppl as ap

pytestmark = pytest.mark.slow

COLUMNS = ["mean", "sd", "q5", "q50", "q95"]


class Posteriors:
    """What a worker runs; it reads the guide once."""

    def __init__(self, folder):
        self.guide = ap.load(folder)

    def __call__(self, part):
        return self.guide.map_batches(part, by="patient", draws=100)


class FilePosteriors(Posteriors):
    """Of a file at a time."""

    def __call__(self, batch):
        return super().__call__(pd.read_parquet(batch["file"].item()))


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), rng.integers(1, 16, 60))
    return pd.DataFrame({"patient": patient, "y": rng.normal(size=len(patient))})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    task = ap.model("gaussian_mean", rows=(1, 16))
    return ap.train(task, "laplace", progress=False).save(tmp_path_factory.mktemp("g") / "guide")


@pytest.fixture(scope="module")
def alone(folder, table):
    return Posteriors(folder)(table)


def expect_same(together, alone):
    together = together.sort_values("patient", ignore_index=True)
    assert together["patient"].tolist() == alone["patient"].tolist()
    numbers = together[COLUMNS].to_numpy(float)  # Arrow's, as Ray has them
    np.testing.assert_allclose(numbers, alone[COLUMNS], rtol=1e-4, atol=1e-4)


def test_dask(folder, table, alone):
    dd = pytest.importorskip("dask.dataframe", reason="the extra `dask` is not installed")
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")

    def posteriors(part, folder=str(folder)):
        import amortppl as ap

        guide = ap.load(folder)
        return guide.map_batches(part.reset_index(), by="patient", draws=100)

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two,
        distributed.Client(two),
    ):
        # An index: each dataset lies in one partition.
        parts = dd.from_pandas(table.set_index("patient"), npartitions=4)
        together = parts.map_partitions(posteriors, meta=alone.iloc[:0]).compute()
    expect_same(together, alone)


@pytest.mark.filterwarnings(  # Ray forks and leaves files open
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::ResourceWarning",
    r"ignore:os.fork\(\) was called:RuntimeWarning",
)
def test_ray(folder, table, alone, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # workers start as this process did
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default 15: a busy machine starves them
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", "600")
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    for share in range(4):  # each dataset lies in one file
        table[table["patient"] % 4 == share].to_parquet(tmp_path / f"{share}.parquet", index=False)
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)  # two work, one reads
    try:
        files = [{"file": str(tmp_path / f"{share}.parquet")} for share in range(4)]
        done = ray.data.from_items(files, override_num_blocks=4).map_batches(
            FilePosteriors,
            fn_constructor_args=(str(folder),),
            batch_size=1,
            batch_format="pandas",
            concurrency=2,
        )
        together = done.to_pandas()
    finally:
        ray.shutdown()
    expect_same(together, alone)
