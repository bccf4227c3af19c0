"""Stored simulations: read from anywhere, split without leakage, supports read off them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amortppl.errors import DataError
from amortppl.simulators import table as tables
from amortppl.simulators.stored import CHECK, LEARN, STOP, UNUSABLE, Stored, hash_rows, parted
from amortppl.simulators.supports import infer_support
from amortppl.simulators.table import Table, read_arrays, read_columns

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(300, 4)), columns=["a", "b", "x0", "x1"])
LATENTS, DATA = {"a": "a", "two": ["a", "b"]}, {"x": ["x0", "x1"]}


def expect_frame(table):
    assert table.latents["a"].shape == (300,) and table.latents["two"].shape == (300, 2)
    np.testing.assert_allclose(table.data["x"], FRAME[["x0", "x1"]], rtol=1e-6)


def test_columns_of_a_frame_of_parquet_and_of_a_folder(tmp_path):
    expect_frame(read_columns(FRAME, LATENTS, DATA))
    FRAME.to_parquet(tmp_path / "all.parquet")
    expect_frame(read_columns(tmp_path / "all.parquet", LATENTS, DATA))
    (tmp_path / "parts").mkdir()
    FRAME[:120].to_parquet(tmp_path / "parts" / "0.parquet", row_group_size=7)
    FRAME[120:].to_parquet(tmp_path / "parts" / "1.parquet")
    expect_frame(read_columns(tmp_path / "parts", LATENTS, DATA))


def test_what_is_larger_than_memory_is_mapped_into_it(tmp_path, monkeypatch):
    FRAME.to_parquet(tmp_path / "all.parquet")
    monkeypatch.setattr(tables, "IN_MEMORY", 100)
    table = read_columns(tmp_path / "all.parquet", LATENTS, DATA)
    assert isinstance(table.data["x"], np.memmap)
    expect_frame(table)


def test_a_column_of_lists_is_an_array(tmp_path):
    lists = pa.table({"a": FRAME["a"], "x": [[float(i), 1.0, 2.0] for i in range(300)]})
    pq.write_table(lists, tmp_path / "lists.parquet")
    read = read_columns(tmp_path / "lists.parquet", {"a": "a"}, {"x": "x"})
    assert read.data["x"].shape == (300, 3) and read.data["x"][7, 0] == 7.0

    frame = pd.DataFrame({"a": FRAME["a"], "x": [[float(i), 1.0] for i in range(300)]})
    assert read_columns(frame, {"a": "a"}, {"x": "x"}).data["x"].shape == (300, 2)


def test_tables_of_arrow():
    expect_frame(read_columns(pa.Table.from_pandas(FRAME), LATENTS, DATA))
    expect_frame(read_columns(pytest.importorskip("polars").DataFrame(FRAME), LATENTS, DATA))


def test_what_is_no_table(tmp_path):
    with pytest.raises(DataError, match="'a' is a latent and in the data"):
        read_columns(FRAME, LATENTS, {"x": ["x0", "a"]})
    for other in ("slow", pd.Timestamp("2020-01-01")):
        with pytest.raises(DataError, match="'s' should be an array of numbers"):
            read_columns(FRAME.assign(s=other), LATENTS, {"x": ["x0", "s"]})
    with pytest.raises(DataError, match="'x' should be an array of numbers"):
        ragged = FRAME.assign(x=[[1.0] * (1 + i % 2) for i in range(300)])
        read_columns(ragged, LATENTS, {"x": "x"})
    with pytest.raises(DataError, match="has none"):
        read_columns(tmp_path, LATENTS, DATA)
    with pytest.raises(DataError, match="several columns 'x1'"):
        read_columns(FRAME.set_axis(["a", "b", "x1", "x1"], axis=1), LATENTS, {"x": "x1"})
    with pytest.raises(DataError, match="'x2' not among its 4 columns"):
        read_columns(FRAME, LATENTS, {"x": ["x0", "x1", "x2"]})
    with pytest.raises(DataError, match="expected a DataFrame, a Parquet file"):
        read_columns(tmp_path / "none.parquet", LATENTS, DATA)
    with pytest.raises(DataError, match="'x' should be an array of numbers"):
        read_arrays({"a": np.ones(3)}, {"x": ["a", "b", "c"]})
    with pytest.raises(DataError, match=r"same number of simulations.*'a': 3, 'x': 2"):
        read_arrays({"a": np.ones(3)}, {"x": np.ones(2)})


def test_copies_of_a_simulation_are_in_one_part():
    """1,000 simulations three times each; the shares are binomial, 4 sds wide (once in 10,000)."""
    a = np.repeat(RNG.normal(size=1000), 3)[RNG.permutation(3000)]
    stored = Stored(Table({"a": a}, {"x": RNG.normal(size=3000)}), held_out=0.2)
    parts = [set(a[stored.places(p)].tolist()) for p in (LEARN, STOP, CHECK)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    sizes = np.array([len(p) for p in parts])
    wanted = np.array([800, 100, 100])
    assert np.all(np.abs(sizes - wanted) < 4 * np.sqrt(wanted * (1 - wanted / 1000)))


def test_few_simulations_are_never_refused_by_chance():
    """60 are enough and 59 are not, whatever the draws; what is learned from stays so as more are
    added, and a large table is held out by its share.
    """
    for seed in range(50):
        a = np.random.default_rng(seed).normal(size=200)
        few, more = (Stored(Table({"a": a[:n]}, {"x": a[:n]})) for n in (60, 200))
        assert np.bincount(few.part).tolist() == [20, 20, 20]
        assert (
            np.bincount(more.part)[[STOP, CHECK]].min() >= 20 and (more.part == LEARN).sum() > 140
        )
        assert set(few.places(LEARN)) <= set(more.places(LEARN))
        with pytest.raises(DataError, match=r"\[19, 20, 20\] of 59"):
            Stored(Table({"a": a[:59]}, {"x": a[:59]}))
    level = np.arange(10_000) / 10_000
    shares = np.bincount(parted(level, np.ones(10_000, bool), 0.1))
    assert shares.tolist() == [9000, 500, 500]


def test_hashes_look_uniform():
    """Of 20,000 neighbouring numbers by Kolmogorov and Smirnov; uniform ones fail once in 1,000."""
    level = np.sort(hash_rows({"a": np.arange(20_000), "b": np.zeros((20_000, 2))}))
    assert np.abs(level - np.arange(20_000) / 20_000).max() < 1.95 / np.sqrt(20_000)


def test_simulations_that_are_not_finite_are_in_no_part():
    x = RNG.normal(size=1000)
    x[:7] = np.nan
    stored = Stored(Table({"a": RNG.normal(size=1000)}, {"x": x}))
    assert stored.places(UNUSABLE).tolist() == list(range(7))


def test_picks_keep_their_order():
    stored = Stored(Table({"a": np.arange(1000.0)}, {"x": np.arange(1000.0)[:, None]}))
    latents, data = stored.take(np.array([5, 3, 9]))
    assert latents["a"].tolist() == [5, 3, 9] and data["x"].dtype == np.float32


def test_what_cannot_be_learned_from():
    with pytest.raises(DataError, match="'a' has an entry with 3 values in 1000"):
        Stored(Table({"a": RNG.integers(0, 3, 1000)}, {"x": RNG.normal(size=1000)}))
    with pytest.raises(DataError, match="'a' has an entry that is the same"):
        Stored(Table({"a": np.ones(1000)}, {"x": RNG.normal(size=1000)}))
    with pytest.raises(DataError, match="at least 20 to learn from"):
        Stored(Table({"a": RNG.normal(size=50)}, {"x": RNG.normal(size=50)}))
    with pytest.raises(DataError, match="no simulation"):
        Stored(Table({"a": np.zeros(0)}, {"x": np.zeros(0)}))
    with pytest.raises(DataError, match="held_out"):
        Stored(Table({"a": RNG.normal(size=50)}, {"x": RNG.normal(size=50)}), held_out=1.5)


@pytest.mark.parametrize(
    ("draws", "support"),
    [
        (RNG.normal(size=(2000, 3)), "Real()"),
        (RNG.standard_t(3, size=2000), "Real()"),
        (RNG.normal(5, 1, size=2000), "Real()"),
        (RNG.lognormal(0, 1, size=2000), "Positive(lower_bound=0.0)"),
        (np.abs(RNG.normal(size=2000)), "Positive(lower_bound=0.0)"),
        (RNG.uniform(0.2, 1.4, size=2000), "Interval(lower_bound=0.2, upper_bound=1.4)"),
        (RNG.uniform(-3, 3, size=(2000, 5)), "Interval(lower_bound=-3.0, upper_bound=3.0)"),
        (-RNG.exponential(size=2000), "LessThan(upper_bound=-0.0)"),
        (RNG.normal(size=100), "Real()"),
    ],
)
def test_supports_are_read_off_draws(draws, support):
    """Seeded: the draws of a normal distribution have an edge once in some hundred seeds."""
    inferred = infer_support(draws)
    assert repr(getattr(inferred, "base_constraint", inferred)) == support
    assert np.asarray(inferred(draws.astype(np.float32))).all()
