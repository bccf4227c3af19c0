"""Arguments of the verbs that can mean nothing: one error each, before anything is computed."""

import numpy as np
import pytest

import amortppl as ap
from amortppl.errors import DataError, GuideError, TrainingError
from amortppl.runtime import arguments


@pytest.fixture(scope="module")
def guide(mean_task):
    return ap.train(mean_task, "laplace", progress=False)


@pytest.fixture
def small_machine(monkeypatch):
    """8 GB of memory."""
    monkeypatch.setattr(arguments, "memory", lambda: 8 << 30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "train: steps: expected a whole number, at least 1, got 0"),
        ({"steps": -1}, "train: steps: expected .*, got -1"),
        ({"steps": 2.5}, "train: steps: expected .*, got 2.5"),
        ({"minutes": 0}, "train: minutes: expected a finite number above 0, got 0"),
        ({"minutes": float("nan")}, "train: minutes: .*, got nan"),
        ({"minutes": float("inf")}, "train: minutes: .*, got inf"),
        ({"steps": 1, "seed": 1 << 64}, "seed: expected a whole number, .*18446744073709551616"),
        ({"steps": 1, "batch": 0}, "train: batch: expected .*, got 0"),
        ({"steps": 1, "rate": float("nan")}, "train: rate: .*, got nan"),
    ],
)
def test_of_training(mean_task, options, words):
    with pytest.raises(TrainingError, match=words):
        ap.train(mean_task, progress=False, **options)


Y = {"y": np.zeros(8)}


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda g: g.infer(Y, draws=10**9), "1,000,000,000 draws of 1 numbers .* 24 GB"),
        (lambda g: g.infer([Y] * 1000, draws=10**6), "1,000,000 draws of 1000 numbers"),
        (lambda g: g.predict(Y, at=10**6, draws=10**4), "10,000 draws of 1000001 numbers"),
        (lambda g: g.log_predictive(Y, at=Y, draws=10**9), "1,000,000,000 draws"),
        (lambda g: g.infer(Y, draws=0), "draws: expected at least 1, got 0"),
        (lambda g: g.infer(Y, draws=1.5), "draws: expected at least 1, got 1.5"),
        (lambda g: g.infer(Y, seed=1 << 63), "seed: expected .*9223372036854775808"),
        (lambda g: g.predict(Y, at=2, seed=-(1 << 64)), "seed: expected a whole number"),
        (lambda g: g.start_nuts(Y, chains=0), "chains: expected .*, got 0"),
    ],
)
def test_of_inference(guide, small_machine, ask, words):
    with pytest.raises(DataError, match=words):
        ask(guide)


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda g: g.save(LONG), OSError),
        (lambda g: g.init().save(LONG), OSError),
        (lambda g: ap.load(LONG), GuideError),
        (lambda g: g.load_state(LONG), GuideError),
        (lambda g: ap.batches(LONG), DataError),
        (lambda g: ap.batches("a\0b"), DataError),
    ],
)
def test_paths_too_long(guide, ask, kind):
    with pytest.raises(kind, match=r"[Nn]ame too long|no file"):
        ask(guide)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ({}, "at: .* has no inputs, expected a whole number .the number of new rows., got {}"),
        ({"n": 3}, "at: .* has no inputs"),
        (0, "at: expected a whole number, at least 1, got 0"),
    ],
)
def test_new_rows_without_inputs(guide, at, words):
    with pytest.raises(DataError, match=words):
        guide.predict(Y, at=at)
