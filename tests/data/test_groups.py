"""Rows that name their group, read into arrays of groups."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.data.groups import read_groups
from amortppl.errors import DataError


def model(x, item, school, n_school, size, y=None):
    level = numpyro.sample("level", dist.Normal(0, 1).expand([3]).to_event(1))
    with numpyro.plate("schools", n_school):
        effect = numpyro.sample("effect", dist.Normal(size, 1))
    with numpyro.plate("row", x.shape[0]):
        log_rate = 0.3 * (level[item] + effect[school] + x)
        numpyro.sample("y", dist.Poisson(jnp.exp(log_rate)), obs=y)


@pytest.fixture(scope="module")
def task():
    inputs = {
        "x": dist.Normal(0, 1),
        "item": dist.Categorical(np.ones(3) / 3),
        "size": dist.Normal(0, 1),
    }
    groups = {"groups": {"school": (2, 9)}, "by_group": {"school": ["size"]}}
    return ap.Task(model, inputs, rows=(1, 4), **groups)


LABELS = ["b", "a", "b", "c", "b"]
ROWS = {
    "x": np.arange(5.0),
    "item": np.array([0, 1, 2, 0, 1]),
    "school": LABELS,
    "size": np.array([2.0, 1.0, 2.0, 3.0, 2.0]),
    "y": np.array([0, 1, 2, 3, 4]),
}


def test_rows_are_arranged_by_label(task):
    dataset = read(task, ROWS)
    assert dataset.groups.labels == ["a", "b", "c"] and dataset.rows == 3
    assert dataset.arrays["school"].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]]
    assert dataset.arrays["x"][1, :3].tolist() == [0, 2, 4]
    assert dataset.arrays["size"].tolist() == [1, 2, 3]
    back = dataset.groups.lines().rows(dataset.arrays["y"])
    assert back.tolist() == ROWS["y"].tolist()
    filled = dataset.arrays["y"][dataset.arrays["school"] == 0]
    assert {*filled} <= {*ROWS["y"]}  # places without a row hold values of the support


@pytest.mark.parametrize("kind", ["category", "whole", "decimal", "table"])
def test_labels_of_any_type(task, kind):
    rows, labels = dict(ROWS), [11, 10, 11, 12, 11]
    expected = [10, 11, 12]
    if kind == "category":
        rows["school"] = pd.Categorical(LABELS, ["c", "b", "d", "a"])
        rows["size"], expected = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}, ["c", "b", "d", "a"]
    elif kind == "whole":
        rows["school"] = np.array(labels)
    elif kind == "decimal":
        rows["school"] = np.array(labels, float)
    data = pd.DataFrame({**rows, "school": labels}) if kind == "table" else rows
    dataset = read(task, data)
    assert dataset.groups.labels == expected
    if kind == "category":  # a category without rows is a group
        assert dataset.arrays["school"].sum(1).tolist() == [1, 3, 0, 1]
        assert dataset.arrays["size"].tolist() == [3, 2, 4, 1]


def test_one_group_a_column_of_labels_and_their_number(task):
    assert read(task, ROWS | {"school": ["a"] * 5, "size": np.full(5, 2.0)}).rows == 1
    column = read(task, ROWS | {"school": np.array(LABELS)[:, None], "n_school": 3})
    assert column.groups.labels == ["a", "b", "c"]


def test_values_of_groups_by_place_say_how_many_there_are(task):
    size = np.arange(4.0)
    dataset = read(task, ROWS | {"school": np.array([1, 0, 1, 3, 1]), "size": size})
    assert dataset.groups.labels == [0, 1, 2, 3]
    assert dataset.arrays["size"].tolist() == size.tolist()
    counted = read(task, ROWS | {"school": [1, 0, 1, 3, 1], "size": np.arange(6.0), "n_school": 6})
    assert counted.rows == 6


WRONG = {
    "a label is missing": ({"school": ["a", None, "b", "b", "b"]}, "no label at row 1"),
    "an index that is no whole number": ({"school": [0.5, 1, 1, 2, 2]}, "got 0.5 at row 0"),
    "labels of two types": ({"school": ["a", 1, "b", "b", "b"]}, "of unlike types"),
    "a group with two sizes": ({"size": np.arange(5.0)}, "differs among the rows of 'b'"),
    "no size for a label": ({"size": {"a": 1.0, "b": 2.0}}, "no value for the school 'c'"),
    "sizes of no group": ({"size": np.arange(4.0)}, "got 4 values for 3 groups"),
    "fewer labels": ({"school": LABELS[:4], "size": dict(a=1, b=2, c=3)}, "same number of rows"),
    "an outcome that is no count": ({"y": np.array([0, 1, 2, -3, 4])}, "'y' holds -3 at row 3"),
    "an item that the model lacks": (
        {"item": np.array([0, 1, 7, 0, 1])},
        "'item' holds 7 at row 2",
    ),
    "a group beyond those counted": ({"school": [0, 1, 2, 3, 9], "n_school": 5}, "none of the 5"),
    "an index below the first": ({"school": [-1, 1, 2, 3, 0], "n_school": 5}, "holds -1 at row 0"),
    "labels of two parts": ({"school": [("a", 1)] * 5}, r"holds \('a', 1\) at row 0; a label is"),
    "labels that are bytes": ({"school": np.array([b"a"] * 5)}, "Make text of it"),
    "two labels for each row": ({"school": np.zeros((5, 2))}, r"one axis, got shape \(5, 2\)"),
    "one label for all rows": ({"school": 3}, r"one axis, got shape \(\)"),
    "half a group": ({"school": [0, 1, 2, 3, 0], "n_school": 4.5}, "one whole number from 1 up"),
    "a number for each row": ({"n_school": np.full(5, 3)}, "one whole number from 1 up"),
    "more groups than labels": ({"n_school": 4}, "says 4 groups, and the labels in 'school' are 3"),
    "no rows": ({n: [] for n in ROWS}, "a label for each row"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_one_error(task, wrong):
    changed, match = wrong
    with pytest.raises(DataError, match=match):
        read(task, ROWS | changed)


def test_groups_are_as_wide_as_the_largest():
    lines = read_groups(np.repeat(["a", "b"], [5, 2]), "g").lines()
    assert lines.counts().shape == (2, 16) and lines.counts().sum(1).tolist() == [5, 2]
    arranged = lines.arrange(np.arange(7.0))
    assert arranged[1].tolist() == [5, 6] + 14 * [5]


def test_a_large_group_goes_on_in_further_lines():
    labels = np.repeat([f"g{i:03}" for i in range(200)], [2] * 5 + [90] + [3] * 194)
    values = np.arange(len(labels))
    lines = read_groups(np.random.default_rng(0).permutation(labels), "g").lines()
    counts = lines.counts()
    assert counts.shape == (200 + 22, 4) and counts.dtype == np.int32
    assert (counts > 0).sum() == len(labels)
    assert counts[200:].max(1).tolist() == [1 + line - 5 for line in range(200, 222)]
    assert lines.rows(lines.arrange(values)).tolist() == values.tolist()
