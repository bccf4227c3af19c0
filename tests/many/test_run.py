"""Posteriors of many datasets in one table: exact, the same however they are dealt out, resumed."""

import numpy as np
import pandas as pd
import pytest

import amortppl as ap
from amortppl.errors import DataError, OutOfRangeWarning
from amortppl.many import groups, run, table
from amortppl.many.run import write_table


@pytest.fixture(scope="module")
def guide():
    """Laplace is exact here: mean ~ N(0, 1), y ~ N(mean, 1)."""
    return ap.train(ap.model("gaussian_mean", rows=(1, 16)), "laplace", progress=False)


@pytest.fixture(scope="module")
def long():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(40), rng.integers(1, 16, 40))
    return pd.DataFrame({"who": who, "y": rng.normal(size=len(who)) + 0.1 * who})


@pytest.fixture(scope="module")
def whole(guide, long):
    return guide.map_batches(long, "who", draws=400)


@pytest.fixture
def chunks(monkeypatch):
    """Chunks of 8 datasets: five of them."""
    monkeypatch.setattr(table, "CHUNK", 8)
    monkeypatch.setattr(run, "CHUNK", 8)


def test_moments_are_those_of_the_closed_form(guide, long, whole):
    """Of 40 means the largest error is beyond 4.5 standard errors once in 3,700 seeds."""
    y = long.groupby("who")["y"]
    assert list(whole["latent"].unique()) == ["mean"]
    precision = 1 + y.size().to_numpy()
    mean, sd = y.sum().to_numpy() / precision, precision**-0.5
    assert np.abs((whole["mean"] - mean) / sd).max() < 4.5 / 400**0.5
    np.testing.assert_allclose(whole["sd"], sd, rtol=4.5 / 800**0.5)
    assert (whole["rows"] == y.size().to_numpy()).all()
    assert whole["reliable"].all() and (whole["khat"] < 0.7).all()
    assert (whole["source"] == "amortized").all()


def test_workers_give_what_one_gives(guide, long, whole):
    parts = [long[long["who"] % 3 == i] for i in range(3)]
    merged = pd.concat([guide.map_batches(p, "who", draws=400) for p in parts])
    merged = merged.sort_values("who", ignore_index=True)
    columns = ["mean", "sd", "q5", "q50", "q95"]
    np.testing.assert_allclose(merged[columns], whole[columns], rtol=1e-4, atol=1e-4)


def test_tables_that_come_one_by_one(guide, long, whole, chunks, monkeypatch):
    """Datasets go on in the next table; the first answers are there before the last table is."""
    monkeypatch.setattr(groups, "ROWS", 32)
    asked = []

    def tables():
        for start in range(0, len(long), 60):
            asked.append(start)
            yield long[start : start + 60]

    answers = guide.map_batches(tables(), "who", draws=400)
    first = next(answers)
    assert len(first) == 8 and asked[-1] < len(long) - 60
    merged = pd.concat([first, *answers], ignore_index=True)
    columns = ["who", "mean", "sd", "q5", "q50", "q95"]
    np.testing.assert_allclose(merged[columns], whole[columns], rtol=1e-4, atol=1e-4)
    with pytest.raises(DataError, match="iterable of these, got one of dict"):
        next(guide.map_batches(iter([{"who": [1]}]), "who"))


def test_draws(guide, long, whole):
    drawn = guide.map_batches(long, "who", draws=400, output="draws")
    assert list(drawn.columns[:2]) == ["who", "draw"] and len(drawn) == 40 * 400
    mean = drawn.groupby("who")["mean"].mean()
    np.testing.assert_allclose(mean, whole["mean"], atol=1e-5)
    with pytest.raises(DataError, match="output: expected 'summary' or 'draws', got 'table'"):
        guide.map_batches(long, "who", output="table")


def test_a_run_cut_short_goes_on(guide, long, whole, chunks, tmp_path, monkeypatch):
    data, out = tmp_path / "long.parquet", tmp_path / "posteriors.parquet"
    long.to_parquet(data)
    right, calls = table.answer, []

    def answer(*arguments):
        calls.append(len(arguments[1]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return right(*arguments)

    monkeypatch.setattr(table, "answer", answer)
    with pytest.raises(KeyboardInterrupt):
        write_table(guide, data, "who", out, draws=400, progress=False)
    assert not out.exists()
    with pytest.raises(DataError, match="unfinished run of another guide, other data or options"):
        write_table(guide, data, "who", out, draws=300, progress=False)
    count = write_table(guide, data, "who", out, draws=400, progress=False)
    assert (len(calls), count.datasets, count.resumed) == (6, 24, 16)
    pd.testing.assert_frame_equal(pd.read_parquet(out), whole, rtol=1e-4, check_dtype=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long.parquet", "posteriors.parquet"]


def test_the_output_replaces_no_input(guide, long, tmp_path):
    long.to_parquet(tmp_path / "long.parquet")
    with pytest.raises(FileExistsError, match="is read by the same command"):
        write_table(guide, tmp_path / "long.parquet", "who", tmp_path / "long.parquet")


@pytest.mark.slow
def test_a_predictor_has_no_posteriors(guide, long):
    spec = ap.method("in_context", width=8, layers=1, heads=1, keys=4, values=2, hidden=8)
    predictor = ap.train(guide.task, spec, steps=1, batch=2, progress=False)
    with pytest.raises(DataError, match="by: a table of posteriors needs a method with latents"):
        predictor.map_batches(long, "who")


def test_no_rows_and_too_many_rows(guide, long):
    with pytest.raises(DataError, match="the table has no rows"):
        guide.map_batches(long[:0], "who")
    two = pd.DataFrame({"who": [0] * 40 + [1] * 4, "y": np.linspace(-1, 1, 44)})
    with pytest.warns(OutOfRangeWarning, match="1 of 2 datasets"):
        posteriors = guide.map_batches(two, "who", draws=50)
    assert posteriors["in_range"].tolist() == [False, True]
