"""Every kind of source gives the same rows, in shares, from the middle, in a seeded order; bad ones
clear errors.
"""

import gc
import subprocess
import sys
import threading
import time
import weakref
from importlib import import_module

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import amortppl as ap
from amortppl.errors import DataError

ROWS, SIZE, PER_BLOCK = 37, 2, 3


def model(x, k=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("k", dist.Poisson(np.e + 0 * (x @ w)), obs=k)


@pytest.fixture(scope="module")
def task():
    return ap.Task(model, {"x": dist.Normal(0, 1).expand([2])})


@pytest.fixture(scope="module")
def arrays():
    x = np.random.default_rng(0).standard_normal((ROWS, 2)).astype(np.float32)
    return {"x": x, "k": np.arange(ROWS, dtype=np.int32)}


@pytest.fixture(scope="module")
def frame(arrays):
    """k numbers the rows, so that an order can be read off it."""
    return pd.DataFrame(
        {"k": arrays["k"], "x_0": arrays["x"][:, 0], "other": "words", "x_1": arrays["x"][:, 1]}
    )


def parts(table):
    """Unequal ones, one of them without rows."""
    return [table.iloc[a:b] for a, b in [(0, 1), (1, 1), (1, 20), (20, 37)]]


@pytest.fixture(scope="module")
def sources(frame, arrays, tmp_path_factory):
    """Every kind of source by name, each made anew for each use."""
    root = tmp_path_factory.mktemp("sources")
    for folder in ("folder", "csv"):
        (root / folder).mkdir()
    frame.to_parquet(root / "one.parquet", row_group_size=5)
    frame.astype({"k": float, "x_0": "float64"}).to_parquet(root / "single_group.pq")
    for i, part in enumerate(parts(frame)):
        part.to_parquet(root / f"folder/part-{i}.parquet", row_group_size=4)
        part.to_csv(root / f"csv/part-{i}.csv", index=False)
    frame.to_csv(root / "one.tsv", sep="\t", index=False)
    frame.to_csv(root / "one.csv.gz", index=False)
    pq.write_table(
        pa.table({"k": arrays["k"], "x": list(arrays["x"])}),
        root / "lists.parquet",
        row_group_size=7,
    )
    dicts = [{"x": p[["x_0", "x_1"]].to_numpy(), "k": p["k"].to_list()} for p in parts(frame)]
    return {
        "dict": lambda: arrays,
        "DataFrame": lambda: frame,
        "nullable": lambda: frame.convert_dtypes(),
        "Parquet": lambda: root / "one.parquet",
        "Parquet, one row group": lambda: str(root / "single_group.pq"),
        "Parquet with lists": lambda: root / "lists.parquet",
        "folder": lambda: root / "folder",
        "pattern": lambda: f"{root}/folder/*.parquet",
        "list of paths": lambda: sorted((root / "folder").iterdir()),
        "CSV files": lambda: f"{root}/csv/*.csv",
        "TSV": lambda: root / "one.tsv",
        "CSV, compressed": lambda: root / "one.csv.gz",
        "list of DataFrames": lambda: parts(frame),
        "iterator of dicts": lambda: iter(dicts),
    }


KINDS = [
    "dict",
    "DataFrame",
    "nullable",
    "Parquet",
    "Parquet, one row group",
    "Parquet with lists",
    "folder",
    "pattern",
    "list of paths",
    "CSV files",
    "TSV",
    "CSV, compressed",
    "list of DataFrames",
    "iterator of dicts",
]
each_kind = pytest.mark.parametrize("kind", KINDS)


def blocks(task, source, skip=0, **options):
    return list(
        ap.batches(source, SIZE, **{"shuffle": None, **options}).blocks(task, PER_BLOCK, skip)
    )


def stacked(blocks):
    return {n: np.concatenate([b.arrays[n] for b in blocks]) for n in ("x", "k")}


def order(blocks):
    """The numbers of the rows, each found beside its own x."""
    return stacked(blocks)["k"].tolist() if blocks else []


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    """Chunks of CSV files shorter than these files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amortppl.data.sources.csv_files.CHUNK", 8)
        yield


@each_kind
def test_every_source_gives_the_rows(task, arrays, sources, kind):
    pieces = blocks(task, sources[kind]())
    assert [b.start for b in pieces] == list(range(0, ROWS, SIZE * PER_BLOCK))
    assert [len(b.arrays["k"]) for b in pieces] == [6, 6, 6, 6, 6, 6, 1]
    for name, values in stacked(pieces).items():
        assert values.dtype == arrays[name].dtype
        np.testing.assert_array_equal(values, arrays[name])


@each_kind
def test_skipped_rows_are_those_before_a_block(task, arrays, sources, kind):
    pieces = blocks(task, sources[kind](), skip=18)
    assert pieces[0].start == 18
    np.testing.assert_array_equal(stacked(pieces)["x"], arrays["x"][18:])


@each_kind
@pytest.mark.parametrize("count", [2, 3, 7])
def test_shares_are_disjoint_and_together_whole(task, sources, kind, count):
    row_numbers = []
    for index in range(count):
        batches = ap.batches(sources[kind](), SIZE, shard=(index, count))
        try:
            share = order(list(batches.blocks(task, PER_BLOCK)))
        except DataError as error:  # fewer files or tables than shares
            assert "no rows" in str(error)
            share = []
        assert batches.rows in (None, len(share))
        row_numbers += share
    assert sorted(row_numbers) == list(range(ROWS))


@each_kind
def test_a_shuffled_order_is_a_permutation_that_a_seed_repeats(task, arrays, sources, kind):
    first = stacked(blocks(task, sources[kind](), shuffle=1))
    assert sorted(first["k"]) == list(range(ROWS)) != first["k"].tolist()
    np.testing.assert_array_equal(first["x"], arrays["x"][first["k"]])
    assert order(blocks(task, sources[kind](), shuffle=1)) == first["k"].tolist()
    assert order(blocks(task, sources[kind](), shuffle=2)) != first["k"].tolist()


@each_kind
@pytest.mark.parametrize("skip", [6, 18])
def test_a_shuffled_stream_goes_on_where_it_was(task, sources, kind, skip, monkeypatch):
    monkeypatch.setattr(import_module("amortppl.data.batches"), "WINDOW", 5)
    whole = order(blocks(task, sources[kind](), shuffle=1))
    assert order(blocks(task, sources[kind](), shuffle=1, skip=skip)) == whole[skip:]


def test_shuffled_shares_are_disjoint(task, sources):
    row_numbers = [
        k
        for i in range(3)
        for k in order(blocks(task, sources["Parquet, one row group"](), shuffle=1, shard=(i, 3)))
    ]
    assert sorted(row_numbers) == list(range(ROWS)) != row_numbers


@each_kind
def test_plain_mini_batches(sources, kind, arrays):
    mini_batches = list(ap.batches(sources[kind](), 10, shuffle=None))
    assert [len(b["k"]) for b in mini_batches] == [10, 10, 10, 7]
    assert isinstance(mini_batches[0], dict if "dict" in kind else pd.DataFrame)
    np.testing.assert_array_equal(np.concatenate([b["k"] for b in mini_batches]), arrays["k"])


@pytest.mark.parametrize("kind", ["DataFrame", "Parquet", "TSV", "list of DataFrames"])
def test_columns_of_arguments(task, arrays, sources, kind):
    columns = {"x": ["x_1", "x_0"], "k": "k"}
    np.testing.assert_array_equal(
        stacked(blocks(task, sources[kind](), columns=columns))["x"], arrays["x"][:, ::-1]
    )
    plain = next(iter(ap.batches(sources[kind](), 5, columns=columns, shuffle=None)))
    np.testing.assert_allclose(plain[["x_0", "x_1"]], arrays["x"][:5, ::-1], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("dict", ROWS),
        ("Parquet", ROWS),
        ("folder", ROWS),
        ("TSV", None),
        ("list of DataFrames", None),
    ],
)
def test_rows_are_known_where_they_need_not_be_read(sources, kind, rows):
    assert ap.batches(sources[kind]()).rows == rows


def test_skipped_row_groups_and_other_columns_are_not_read(task, sources, monkeypatch):
    read = []

    class Watched(pq.ParquetFile):
        def iter_batches(self, *args, row_groups, columns, **options):
            read.append((row_groups, columns))
            return super().iter_batches(*args, row_groups=row_groups, columns=columns, **options)

    monkeypatch.setattr(pq, "ParquetFile", Watched)
    blocks(task, sources["Parquet"](), skip=18)
    assert [r for groups, _ in read for r in groups] == [3, 4, 5, 6, 7]
    assert all(columns == ["x_0", "x_1", "k"] for _, columns in read)


def test_a_linked_folder_is_read_once(frame, tmp_path):
    """Two links to the folder itself would make 2^40 paths."""
    (tmp_path / "a").mkdir()
    frame.to_parquet(tmp_path / "a" / "rows.parquet")
    (tmp_path / "a" / "again.parquet").symlink_to("rows.parquet")
    for name in ("loop", "twin"):
        (tmp_path / "a" / name).symlink_to(".")
    for source in (tmp_path / "a", f"{tmp_path}/**/*.parquet", f"{tmp_path}/a/**/rows.parquet"):
        assert ap.batches(source).rows == ROWS
    assert ap.batches([tmp_path / "a", tmp_path / "a" / "rows.parquet"]).rows == ROWS


# What runs behind.


def readers():
    return [t for t in threading.enumerate() if t.name == "amortppl-reader"]


def endless(made):
    while True:
        x = np.zeros((6, 2))
        made.append(weakref.ref(x))
        yield {"x": x, "k": np.zeros(6, int)}
        del x


@pytest.mark.parametrize("shuffle", [None, 1])
def test_only_a_few_blocks_are_read_ahead_and_kept(task, monkeypatch, shuffle):
    monkeypatch.setattr(import_module("amortppl.data.batches"), "WINDOW", 2 * PER_BLOCK)
    made, blocks = [], []
    stream = ap.batches(endless(made), SIZE, shuffle=shuffle).blocks(task, PER_BLOCK)
    for taken in range(1, 30):
        blocks.append(weakref.ref(next(stream).arrays["x"]))
        time.sleep(0.005)
        assert len(made) <= taken + 6
        assert sum(m() is not None for m in made) <= 4
        assert sum(b() is not None for b in blocks) <= 1
    stream.close()


@pytest.mark.parametrize("end", ["close", "collect"])
def test_the_thread_ends_with_its_iterator(task, end):
    stream = ap.batches(endless([]), SIZE).blocks(task, PER_BLOCK)
    next(stream)
    assert len(readers()) == 1
    if end == "close":
        stream.close()
    else:
        del stream
        gc.collect()
    assert readers() == []


def test_the_thread_ends_after_an_error_of_the_source(task):
    def failing():
        yield {"x": np.zeros((6, 2)), "k": np.zeros(6, int)}
        raise OSError("the disk is gone")

    stream = ap.batches(failing(), SIZE).blocks(task, PER_BLOCK)
    next(stream)
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)
    assert readers() == []


def test_python_ends_while_a_stream_is_open():
    code = """
import itertools
from amortppl.data.prefetch import prefetch
stream = prefetch(itertools.count)
next(stream)
print("done")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("done\n", "", 0)


def test_supports_are_compiled_once(task, arrays, sources):
    traced = []
    counted = ap.Task(
        lambda x, k=None: traced.append(0) or model(x, k), {"x": dist.Normal(0, 1).expand([2])}
    )
    blocks(counted, sources["dict"]())
    before = len(traced)
    blocks(counted, sources["Parquet"](), skip=6)
    assert len(traced) == before


# Bad sources.


def changed(frame, **columns):
    return frame.assign(**columns)


def at(frame, column, row, value):
    frame = frame.astype({column: object if isinstance(value, str) else float})
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: at(f, "x_1", 17, np.nan),
            ["'x' (column 'x_1') holds nan at row 1 of row group 4 of", "rows.parquet"],
        ),
        (
            lambda f: at(f, "x_0", 30, -np.inf),
            ["'x' (column 'x_0') holds -inf at row 2 of row group 7"],
        ),
        (lambda f: at(f, "x_0", 30, 1e300), ["'x_0'", "row 2 of row group 7"]),
        (
            lambda f: at(f, "k", 9, np.nan),
            ["'k'", "nan at row 1 of row group 2", "missing, or infinite"],
        ),
        (
            lambda f: at(f, "k", 9, 1.5),
            ["'k' (column 'k') should hold whole numbers, got 1.5 at row 1 of row group 2"],
        ),
        (
            lambda f: at(f, "k", 9, 1e12),
            ["should hold numbers that 32 bits can hold", "row 1 of row group 2"],
        ),
        (
            lambda f: at(f, "k", 36, -1),
            ["'k' holds -1 at row 0 of row group 9", "'k' ~ Poisson", "1 such rows of this"],
        ),
        (lambda f: f.drop(columns="k"), ["no column 'k' for the argument 'k'"]),
        (lambda f: f.rename(columns={"k": "K"}), ["no column 'k'", "did you mean 'K'?"]),
        (lambda f: f.drop(columns="x_1"), ["'x' should have shape (N, 2), got (N)", "'x_0'"]),
        (lambda f: f.assign(k="many"), ["column 'k' of", "should hold numbers", "'many'"]),
        (
            lambda f: f.assign(k=pd.Timestamp("2026-01-01")),
            ["column 'k' of", "should hold numbers, got datetime64"],
        ),
        (lambda f: f.iloc[:0], ["no rows"]),
    ],
)
@pytest.mark.parametrize("shuffle", [None, 3])
def test_bad_rows_of_a_file_are_named(task, frame, tmp_path, change, words, shuffle):
    change(frame).to_parquet(tmp_path / "rows.parquet", row_group_size=4)
    with pytest.raises(DataError) as caught:
        blocks(task, tmp_path / "rows.parquet", shuffle=shuffle)
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)


def test_places_in_other_sources(task, frame, tmp_path):
    wrong = at(frame, "x_1", 17, np.nan)
    wrong.to_csv(tmp_path / "rows.csv", index=False)
    places = {
        "row 17 of": tmp_path / "rows.csv",
        "row 16 of table 2;": parts(wrong),
        "at row 17;": wrong,
    }
    for place, source in places.items():
        for shuffle in (None, 1):
            with pytest.raises(DataError, match=place):
                blocks(task, source, shuffle=shuffle)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="k"), ["change half-way", "no 'k'"]),
        (
            lambda f: f.rename(columns={"x_1": "X_1"}),
            ["change half-way", "no 'x_1'", "did you mean 'X_1'?"],
        ),
        (
            lambda f: f.assign(k="many"),
            ["'k' changes its type half-way", "int32 before, 'many' at row 0 of"],
        ),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "csv", "iterable"])
def test_changes_half_way_are_named(task, frame, tmp_path, change, words, kind):
    source, where = [frame.iloc[:10], change(frame.iloc[10:])], "table 1"
    if kind != "iterable":
        for i, table in enumerate(source):
            write = {"parquet": table.to_parquet, "csv": table.to_csv}[kind]
            write(tmp_path / f"{i}.{kind}", index=False)
        source, where = f"{tmp_path}/*.{kind}", f"1.{kind}"
        words = [w.replace("int32", "int64") for w in words] if kind == "csv" else words
    with pytest.raises(DataError) as caught:
        blocks(task, source)
    assert [w for w in [*words, where] if w not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (
            {"x": np.zeros((3, 3)), "k": np.zeros(3)},
            ["'x' changes its shape half-way", "(2,) before, of (3,) in table 1"],
        ),
        ({"x": np.zeros((3, 2)), "k": np.zeros(3), "z": np.zeros(3)}, ["'z'", "table 1"]),
        ({"x": np.zeros((3, 2)), "k": np.zeros(4)}, ["table 1", "same number of rows", "'k': 4"]),
        ([1, 2], ["expected a dict of arrays or a DataFrame as table 1, got list"]),
    ],
)
def test_bad_tables_of_an_iterable_are_named(task, second, words):
    with pytest.raises(DataError) as caught:
        blocks(task, [{"x": np.zeros((7, 2)), "k": np.zeros(7)}, second])
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"x": np.zeros((3, 2))}, ["the argument 'k' of model is missing"]),
        (
            {"x": np.zeros((3, 2)), "K": np.zeros(3)},
            ["'K' is not an argument", "did you mean 'k'?"],
        ),
        ({"x": np.zeros((3, 4)), "k": np.zeros(3)}, ["'x' should have shape (N, 2), got (N, 4)"]),
        ({"x": np.zeros((3, 2)), "k": np.zeros(4)}, ["same number of rows"]),
        ({"x": np.zeros((3, 2)), "k": 1.0}, ["same number of rows", "'k': None"]),
        ({"x": np.zeros((0, 2)), "k": np.zeros(0)}, ["no rows"]),
        ([], ["no rows"]),
        ({}, ["'x' of model is missing"]),
        (3, ["expected a dict of arrays", "got int"]),
        (np.zeros(3), ["got ndarray"]),
        ("nowhere.parquet", ["no file or folder 'nowhere.parquet'"]),
        ("nowhere/*.parquet", ["no files match 'nowhere/*.parquet'"]),
    ],
)
def test_bad_sources_are_named(task, source, words):
    with pytest.raises(DataError) as caught:
        blocks(task, source)
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)


def test_bad_files_are_named(task, frame, tmp_path):
    whole = tmp_path / "whole.parquet"
    frame.to_parquet(whole, row_group_size=5)
    files = {
        "short.parquet": whole.read_bytes()[:-20],
        "empty.parquet": b"",
        "middle.parquet": None,
        "a.csv": b"",
    }
    middle = bytearray(whole.read_bytes())
    middle[4:400] = bytes(396)
    for name, content in (files | {"middle.parquet": bytes(middle)}).items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}.*was the copy cut short\?"):
            blocks(task, tmp_path / name)


def test_lists_of_unequal_lengths(task, tmp_path):
    pq.write_table(pa.table({"k": [1, 2], "x": [[1.0, 2.0], [3.0]]}), tmp_path / "rows.parquet")
    with pytest.raises(
        DataError, match=r"lists of column 'x' of .*rows.parquet should all have one length"
    ):
        blocks(task, tmp_path / "rows.parquet")


def test_bad_folders_and_kinds_of_file_are_named(task, frame, tmp_path):
    (tmp_path / "rows.txt").write_text("k,x_0,x_1\n")
    with pytest.raises(DataError, match=r"no Parquet files \(it has 'rows.txt'\)"):
        ap.batches(tmp_path)
    with pytest.raises(DataError, match=r"rows.txt should end in one of '.parquet'"):
        ap.batches(tmp_path / "rows.txt")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="Parquet files only"):
        ap.batches([tmp_path / "rows.csv", tmp_path / "rows.parquet"])


@pytest.mark.parametrize("size", [0, -1, 2.5, "4", True])
def test_bad_sizes(arrays, size):
    with pytest.raises(DataError, match="size should be"):
        ap.batches(arrays, size)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_bad_shards(arrays, shard):
    with pytest.raises(DataError, match="0 <= index < count"):
        ap.batches(arrays, shard=shard)


def test_bad_skips(task, arrays):
    with pytest.raises(DataError, match="a multiple of per_block \\* size = 6 rows, got 4"):
        ap.batches(arrays, SIZE).blocks(task, PER_BLOCK, 4)
    with pytest.raises(DataError, match="600 rows are to be skipped, but there are 37"):
        ap.batches(arrays, SIZE).blocks(task, PER_BLOCK, 600)


def test_columns_of_a_dict(task, arrays):
    source = {"x": arrays["x"], "count": arrays["k"]}
    assert order(blocks(task, source, columns={"k": "count"})) == list(range(ROWS))
    plain = next(iter(ap.batches(source, 5, columns={"k": "count"}, shuffle=None)))
    assert {n: v.shape for n, v in plain.items()} == {"x": (5, 2), "k": (5,)}


def test_columns_of_no_argument(task, frame):
    with pytest.raises(DataError, match="'y' is not an argument"):
        ap.batches(frame, columns={"y": "k"}).blocks(task)
    with pytest.raises(
        DataError, match=r"no column 'X_1' for the argument 'x'.*; did you mean 'x_1'"
    ):
        next(iter(ap.batches(frame, columns={"x": "X_1"})))


def test_an_iterator_is_used_once(task, sources):
    batches = ap.batches(sources["iterator of dicts"](), SIZE)
    list(batches.blocks(task))
    with pytest.raises(DataError, match="one-shot iterator and an earlier pass has used it up"):
        list(batches.blocks(task))


def test_a_block_is_not_streamed():
    def pair(y=None):
        numpyro.sample(
            "y", dist.Normal(numpyro.sample("m", dist.Normal(0, 1)), 1).expand([2]), obs=y
        )

    with pytest.raises(DataError, match="pair are one block of fixed size"):
        ap.batches({"y": np.zeros(2)}).blocks(ap.Task(pair, rows=None))
