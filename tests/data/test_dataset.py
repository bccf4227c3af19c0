"""Bad datasets: one clear error each, naming the argument, the row and the likely cause."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.errors import DataError


def counts(x, k=None, b=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("obs", x.shape[0]):
        numpyro.sample("k", dist.Poisson(np.e), obs=k)
        numpyro.sample("b", dist.Bernoulli(logits=w + x.sum(-1)), obs=b)


@pytest.fixture(scope="module")
def task():
    return ap.Task(counts, {"x": dist.Normal(0, 1).expand([2])}, rows=(2, 8))


def good(**changes):
    data = {"x": np.ones((4, 2)), "k": np.array([0, 1, 2, 3]), "b": np.array([0, 1, 1, 0])}
    return {n: v for n, v in (data | changes).items() if v is not None}


def bad(array, place, value):
    array = np.asarray(array, float)
    array[place] = value
    return array


def test_good_data_are_read(task):
    dataset = read(task, good())
    assert dataset.rows == 4
    assert {n: v.dtype.kind for n, v in dataset.arrays.items()} == {"x": "f", "k": "i", "b": "i"}


@pytest.mark.parametrize(
    "kind", [list, pd.Series, lambda v: np.asarray(v, float), lambda v: np.asarray(v, bool)]
)
def test_kinds_of_arrays(task, kind):
    assert read(task, good(b=kind([0, 1, 1, 0]))).arrays["b"].tolist() == [0, 1, 1, 0]


def test_a_column_of_one_is_a_vector(task):
    assert read(task, good(k=np.ones((4, 1)))).arrays["k"].shape == (4,)


def test_frames(task):
    frame = pd.DataFrame({"x_0": [1.0, 2], "x_1": [3.0, 4], "k": [1, 2], "outcome": [True, False]})
    dataset = read(task, frame, {"b": "outcome"})
    np.testing.assert_array_equal(dataset.arrays["x"], [[1, 3], [2, 4]])
    assert dataset.labels["x"] == ["x_0", "x_1"]
    picked = read(task, frame, {"b": "outcome", "x": ["x_1", "x_0"]})
    np.testing.assert_array_equal(picked.arrays["x"], [[3, 1], [4, 2]])


def test_inputs_alone(task):
    assert set(read(task, {"x": np.ones((3, 2))}, observed=False).arrays) == {"x"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (good(k=None), ["'k'", "is missing"]),
        ({**good(b=None), "B": [1, 0, 0, 1]}, ["'B' is not an argument", "did you mean 'b'?"]),
        ({**good(), "weights": [1, 1, 1, 1]}, ["'weights' is not an argument", "'x', 'k', 'b'"]),
        (
            good(x=bad(np.ones((4, 2)), (2, 1), np.nan)),
            ["'x'", "nan at row 2", "position [1]", "1 of 8"],
        ),
        (good(x=bad(np.ones((4, 2)), (3, 0), np.inf)), ["'x'", "inf at row 3"]),
        (good(k=[1, None, 2, 3]), ["'k'", "row 1"]),
        (
            good(x=np.ones((4, 3))),
            ["'x' should have shape (N, 2)", "got (4, 3)", "trained for 2 columns"],
        ),
        (good(x=np.ones((2, 4))), ["'x'", "transposed"]),
        (good(x=1.0), ["'x' should have shape"]),
        (good(x=np.ones((0, 2)), k=[], b=[]), ["no rows"]),
        (good(k=[1, 2, 3]), ["same number of rows", "'x': 4", "'k': 3"]),
        (good(k=[0, -1, 2, 3]), ["'k' holds -1 at row 1", "'k' ~ Poisson", "1 such"]),
        (good(b=[0, 1, 1, 2]), ["'b' holds 2 at row 3", "Bernoulli"]),
        (good(k=[0, 1, 2.5, 3]), ["'k' should hold whole numbers", "2.5 at row 2"]),
        (good(k=["a", "b", "c", "d"]), ["'k' should hold numbers", "'a'", "categories"]),
        ([1, 2, 3], ["expected a dict", "list"]),
    ],
)
def test_bad_data_are_named(task, data, words):
    with pytest.raises(DataError) as caught:
        read(task, data)
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)


def frame(**changes):
    columns = {"x_0": [1.0, 2], "x_1": [3.0, 4], "k": [1, 2], "b": [1, 0]} | changes
    return pd.DataFrame({n: v for n, v in columns.items() if v is not None})


@pytest.mark.parametrize(
    ("table", "columns", "words"),
    [
        (frame(b=None), None, ["no column 'b' for the argument 'b'"]),
        (frame(), {"k": "K"}, ["no column 'K'", "did you mean 'k'?"]),
        (frame(), {"count": "k"}, ["columns: 'count' is not an argument"]),
        (frame(x_1=[np.nan, 1]), None, ["'x' (column 'x_1')", "nan at row 0"]),
        (frame(x_1=["low", "high"]), None, ["column 'x_1' should hold numbers", "'low'"]),
        (frame(k=["one", "two"]), None, ["column 'k' should hold numbers"]),
        (frame(k=pd.array([1, None], dtype="Int64")), None, ["'k'", "row 1"]),
        (frame(x_1=None), None, ["'x' should have shape (N, 2)"]),
    ],
)
def test_bad_frames_are_named(task, table, columns, words):
    with pytest.raises(DataError) as caught:
        read(task, table, columns)
    assert [w for w in words if w not in str(caught.value)] == [], str(caught.value)


def test_a_positive_site_refuses_zero():
    def model(y=None, n=3):
        scale = numpyro.sample("scale", dist.HalfNormal(1))
        with numpyro.plate("obs", n if y is None else len(y)):
            numpyro.sample("y", dist.Gamma(2, scale), obs=y)

    task = ap.Task(model, rows=3)
    with pytest.raises(DataError, match=r"'y' holds -1.0 at row 2, outside the support"):
        read(task, {"y": [1.0, 2.0, -1.0]})
