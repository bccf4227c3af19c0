"""Of strange datasets the column is named; of those of the model few are."""

import numpy as np
import pytest
from scipy import stats

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.trust.strange_columns import LEVEL, _simulated, adjusted, statistics, tell_columns

COUNT = 1000


def simulate(seed, count=COUNT):
    """Datasets of ten rows: two columns that go together, and whole numbers."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=count)
    y = mean[:, None, None] + rng.normal(size=(count, 10, 1)) + rng.normal(size=(count, 10, 2)) / 2
    return mean, {"y": y, "n": rng.poisson(1 + mean[:, None] ** 2, (count, 10))}


@pytest.fixture(scope="module")
def rows():
    mean, data = simulate(0)
    return ap.Task.from_simulations({"mean": mean}, data, rows=(5, 10))


def told(task, data, strange=True):
    return tell_columns(task, [read(task, data)], np.array([strange]))[0]


def test_the_column_is_named(rows):
    own = {n: v[0, :8] for n, v in simulate(1)[1].items()}
    wide = own | {"y": own["y"] + np.c_[np.zeros(8), 12 * np.linspace(-1, 1, 8)]}
    (note,) = told(rows, wide)
    assert note.startswith("what does not fit: the ") and "smaller" in note and "larger" in note
    assert "of y[1] is" in note and "y[0]" not in note and "correction for 12 statistics" in note
    assert "it is how the values go together" in told(rows, own)[0]
    assert told(rows, own, strange=False) == []


def test_entries_of_a_block_are_columns(rows):
    mean, data = simulate(0)
    block = ap.Task.from_simulations({"mean": mean}, {"n": data["n"]})
    usual, odd = data["n"][0], data["n"][0] + 40 * np.eye(10)[3]
    assert "the value of n[3] is larger than in 100% of" in told(block, {"n": odd})[0]
    assert "no column is strange" in told(block, {"n": usual})[0]
    image = ap.Task.from_simulations({"mean": mean}, {"y": data["y"]})
    assert "of y[..., 0] is smaller" in told(image, {"y": data["y"][0] - [30, 0]})[0]


def test_datasets_of_the_model_are_seldom_told(rows):
    """At most the 99.9% point of a binomial, of datasets that are independent of the simulated."""
    usual, own = _simulated(rows, 10), statistics(rows, simulate(2, 500)[1])
    alarms = sum(adjusted(v, usual.values)[0].min() < LEVEL for v in own.values)
    assert alarms <= stats.binom.ppf(0.999, 500, LEVEL)
