"""Numbers of a stream as they came, from every kind of source."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap

X = 1e7 + np.arange(20) / 8
"""Of these 32 bits keep whole numbers only."""


def line(x, k, y=None):
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(slope * x + k, 1.0), obs=y)


def source_of(kind, folder):
    columns = {"x": X, "k": np.arange(20), "y": np.linspace(-1, 1, 20)}
    frame = pd.DataFrame(columns)
    if kind == "csv":
        frame.to_csv(folder / "rows.csv", index=False)
        return folder / "rows.csv"
    if kind == "parquet":
        frame.to_parquet(folder / "rows.parquet")
        return folder / "rows.parquet"
    if kind == "iterable":
        return ({n: v[i : i + 5] for n, v in columns.items()} for i in range(0, 20, 5))
    return frame if kind == "frame" else columns


@pytest.mark.parametrize("kind", ["dict", "frame", "csv", "parquet", "iterable"])
def test_blocks_keep_what_came(kind, tmp_path):
    """64 bits beside the 32 of the arrays, row by row."""
    inputs = {"x": dist.Normal(0, 1), "k": dist.Categorical(np.ones(20) / 20)}
    task = ap.Task(line, inputs)
    stream = ap.batches(source_of(kind, tmp_path), 4, shuffle=None)
    blocks = list(stream.blocks(task, 2, keep=True))
    given = np.concatenate([b.given["x"] for b in blocks])
    assert given.dtype == np.float64 and np.array_equal(given, X)
    assert all(b.arrays["x"].dtype == np.float32 for b in blocks)
    assert np.concatenate([b.given["k"] for b in blocks]).tolist() == list(range(20))
