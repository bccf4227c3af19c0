"""Datasets of a table in long form: all rows, in their order, whatever the blocks are."""

import numpy as np
import pandas as pd
import pytest

import amortppl as ap
from amortppl.errors import DataError
from amortppl.many import groups
from amortppl.many.groups import read_groups


@pytest.fixture(scope="module")
def task():
    return ap.model("gaussian_mean", rows=(1, 32))


def long_table(sizes, names=None):
    rows, names = sum(sizes), list(range(len(sizes))) if names is None else names
    y = np.random.default_rng(0).normal(size=rows)
    return pd.DataFrame({"who": np.repeat(names, sizes), "y": y})


@pytest.fixture(params=[5, 7, 1000])
def block(request, monkeypatch):
    monkeypatch.setattr(groups, "ROWS", request.param)


SIZES = [3, 1, 12, 5, 1, 1, 30]


def expect_datasets(read_back, table):
    wanted = table.groupby("who", sort=False)["y"]
    assert [g.name for g in read_back] == list(wanted.groups) and len(read_back) == table[
        "who"
    ].nunique()
    for group, (_, y) in zip(read_back, wanted, strict=True):
        np.testing.assert_array_equal(group.dataset.arrays["y"], y.to_numpy(np.float32))
        np.testing.assert_array_equal(group.dataset.given["y"], y)


def test_blocks_change_nothing(task, block, tmp_path):
    table = long_table(SIZES, [f"p{i}" for i in range(len(SIZES))])
    table.to_parquet(tmp_path / "t.parquet", row_group_size=11)
    table.to_csv(tmp_path / "t.csv", index=False)
    for source in (table, tmp_path / "t.parquet", tmp_path / "t.csv"):
        expect_datasets(list(read_groups(task, source, "who")), table)


def test_a_frame_is_sorted_by_dataset_and_not_within(task):
    table = long_table(SIZES).sample(frac=1, random_state=1)
    first = [n for n, _ in table.groupby("who", sort=False)]
    read_back = list(read_groups(task, table, "who"))
    assert [g.name for g in read_back] == first
    expect_datasets(read_back, table)


def test_a_file_whose_datasets_are_in_pieces_is_refused(task, tmp_path):
    pd.concat([long_table([2, 2]), long_table([1])]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"who 0 do not follow one another: .* at row 4 of .*Sort"):
        list(read_groups(task, tmp_path / "t.csv", "who"))


def test_what_is_wrong_is_named(task):
    table = long_table([2, 3])
    with pytest.raises(DataError, match=r"by: no column 'whom' .*did you mean 'who'"):
        list(read_groups(task, table, "whom"))
    with pytest.raises(DataError, match="'who' is missing at row 1"):
        list(read_groups(task, table.assign(who=[0, None, 1, 1, 1]), "who"))
    with pytest.raises(DataError, match=r"'y' .*row 3"):
        list(read_groups(task, table.assign(y=[0, 0, 0, np.nan, 0]), "who"))
    with pytest.raises(DataError, match="expected a DataFrame or files"):
        list(read_groups(task, {"who": np.zeros(2), "y": np.zeros(2)}, "who"))


def test_datasets_of_fixed_size(block):
    task = ap.model("eight_schools")
    rng = np.random.default_rng(0)
    sigma = rng.uniform(5, 20, 16)
    table = pd.DataFrame({"year": np.repeat([1, 2], 8), "sigma": sigma, "y": rng.normal(0, 9, 16)})
    read_back = list(read_groups(task, table, "year"))
    assert [g.name for g in read_back] == [1, 2]
    np.testing.assert_array_equal(read_back[1].dataset.given["sigma"][0], sigma[8:])
    with pytest.raises(DataError, match=r"dataset 2 \(row 8\): "):
        list(read_groups(task, table[:12], "year"))
