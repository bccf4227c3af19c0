"""Runs of Python simulators: the same in any process, with failures counted, and never lost."""

import inspect
import subprocess
import sys
import time
from functools import partial
from itertools import count, islice

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pyarrow.parquet as pq
import pytest

from amortppl.errors import ModelError
from amortppl.simulators import run as runs
from amortppl.simulators import store as stores
from amortppl.simulators.identity import describe_simulator
from amortppl.simulators.prior import Prior
from amortppl.simulators.run import run_simulations, tell_failures
from amortppl.simulators.signature import read_signature
from amortppl.simulators.table import read_folder, read_store
from amortppl.simulators.worker import read_output

PRIOR = Prior({"mean": dist.Normal(0, 2)})


def simulate(mean, rng):
    return {"y": rng.normal(mean, 1, 4), "one": mean}


def run(simulator, total=60, path=None, workers=1, seed=0):
    call = read_signature(simulator, ["mean"])
    return run_simulations(call, PRIOR, total, None, path, workers, seed, False)


def test_a_simulation_is_a_function_of_its_number_in_any_process():
    one, two = (read_store(run(simulate, workers=w)) for w in (1, 2))
    assert one.data["y"].shape == (60, 4) and one.data["one"].shape == (60,)
    for name in ("y", "one"):
        np.testing.assert_array_equal(one.data[name], two.data[name])
    np.testing.assert_array_equal(one.data["one"], one.latents["mean"])
    assert not np.array_equal(one.data["y"], read_store(run(simulate, seed=1)).data["y"])


def test_randomness_that_it_does_not_take_is_seeded_and_given_back():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first, second = (read_store(run(lambda mean: np.random.normal(mean))) for _ in range(2))
    np.testing.assert_array_equal(first.data["x"], second.data["x"])
    assert np.std(first.data["x"] - first.latents["mean"]) > 0.5
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def failing(mean, rng):
    if mean > 2.5:
        raise ValueError("too far")
    if mean < -2.5:
        return np.nan
    if 1.5 < mean < 2.0:
        return "fast"
    return [mean, mean] if 2.0 < mean < 2.5 else mean


def test_failures_are_counted_by_kind_and_left_out():
    kept = run(failing, 400)
    means = read_store(run(lambda mean: mean, 400)).latents["mean"]
    shape = "gave 'x' of shape (2,) where others have ()"
    assert kept.failures == {
        "raised ValueError: too far": np.sum(means > 2.5),
        "gave NaN or infinity in 'x'": np.sum(means < -2.5),
        "gave text in 'x'": np.sum((means > 1.5) & (means < 2.0)),
        shape: np.sum((means > 2.0) & (means < 2.5)),
    }
    left = read_store(kept).latents["mean"]
    np.testing.assert_array_equal(left, means[(means >= -2.5) & (means <= 1.5)])
    assert tell_failures(kept).startswith(f"{np.sum(means < -2.5)} gave NaN")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("fast", "gave text in 'x'"),
        ({"t": None}, "gave None in 't'"),
        ([1 + 2j], "gave complex numbers in 'x'"),
        (1e39, "gave NaN or infinity in 'x'"),  # too large for 32 bits
        ({}, "gave an empty dict"),
        ([[1.0], [1.0, 2.0]], "gave no array in 'x' (ValueError)"),
    ],
)
def test_what_is_no_output(output, words):
    assert read_output(output) == words


def test_a_run_that_fails_nearly_always_stops_at_once():
    with pytest.raises(ModelError, match=r"of the first .* raised ZeroDivisionError"):
        run(lambda mean: 1 / 0, 10_000)
    with pytest.raises(ModelError, match="all 5 simulations failed"):
        run(lambda mean: 1 / 0, 5)
    with pytest.raises(ModelError, match=r"gave 'x' of shape .* same names and shapes"):
        run(lambda mean, rng: np.zeros(rng.integers(1, 4)), 100)
    with pytest.raises(ModelError, match="raised SystemExit: 3"):
        run(lambda mean: sys.exit(3), 30)


class Licensed:
    """Works for so many calls, as a licence server does, and is mended later."""

    def __init__(self):
        self.server = islice(count(), 51)

    def __call__(self, mean, rng):
        if next(self.server, None) is None:
            raise RuntimeError("no licence")
        return rng.normal(mean, 1, 3)


def test_simulations_that_nearly_all_failed_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "SECONDS", 0.0)
    monkeypatch.setattr(stores, "SHARE", 0.0)
    monkeypatch.setattr(runs, "CHUNK", 50)
    simulator = Licensed()
    with pytest.raises(ModelError, match=r"no licence.*the other 51 are kept"):
        run(simulator, 600, tmp_path)
    simulator.server = islice(count(), None)
    assert not run(simulator, 600, tmp_path).failures
    made = read_folder(tmp_path)
    np.testing.assert_array_equal(made.data["x"], read_store(run(Counted(), 600)).data["x"])
    assert len(run(simulator, 600, tmp_path).numbers) == 600


class Killed(BaseException):
    """Ends a run as kill -9 does: nothing is written after it."""


class Counted:
    """Counts its calls; after the last of them the run is killed."""

    def __init__(self, last=None):
        self.calls, self.left = 0, islice(count(), last)

    def __call__(self, mean, rng):
        self.calls += 1
        if next(self.left, None) is None:
            raise Killed
        return rng.normal(mean, 1, 3)


def test_a_killed_run_loses_nothing_that_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "SECONDS", 0.0)
    monkeypatch.setattr(stores, "SHARE", 0.0)
    monkeypatch.setattr(runs, "CHUNK", 10)
    flush = stores.Store.flush
    unless_killed = lambda store: sys.exc_info()[0] is Killed or flush(store)  # noqa: E731
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stores.Store, "flush", unless_killed)
        run(Counted(31), path=tmp_path)
    kept = len(read_folder(tmp_path).latents["mean"])
    assert 20 <= kept <= 31
    rest = Counted()
    resumed = run(rest, path=tmp_path)
    assert rest.calls == 60 - kept
    np.testing.assert_array_equal(
        read_store(resumed).data["x"], read_store(run(Counted())).data["x"]
    )


def slow(mean, rng):
    time.sleep(0.001)
    return rng.normal(mean, 1, 3)


RUN = f"""
import sys, time
import numpyro.distributions as dist
from amortppl.simulators import store
from amortppl.simulators.prior import Prior
from amortppl.simulators.run import run_simulations
from amortppl.simulators.signature import read_signature

{inspect.getsource(slow)}

store.SECONDS = store.SHARE = 0.0
prior = Prior({{"mean": dist.Normal(0, 2)}})
run_simulations(read_signature(slow, ["mean"]), prior, 10**5, None, sys.argv[1], 2, 0, False)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_with_its_workers_at_work_loses_nothing(tmp_path):
    """kill -9 after three parts; the folder then has every simulation once, as in one run."""
    file, made = tmp_path / "run.py", tmp_path / "made"
    file.write_text(RUN)
    process = subprocess.Popen([sys.executable, file, made])
    while len(list(made.glob("part-*"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = sum(pq.read_metadata(p).num_rows for p in made.glob("part-*.parquet"))
    total = kept + 20
    assert len(run(slow, total, made).numbers) == total
    parts = [pq.read_table(p)["simulation"].to_numpy() for p in made.glob("part-*.parquet")]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(total))
    order = lambda t: np.argsort(t.latents["mean"])  # noqa: E731
    one, two = read_folder(made), read_store(run(slow, total))
    np.testing.assert_array_equal(one.data["x"][order(one)], two.data["x"][order(two)])


def test_a_folder_goes_on_with_its_own_simulations_alone(tmp_path):
    run(simulate, 20, tmp_path / "made")
    more = run(simulate, 50, tmp_path / "made")
    assert len(more.numbers) == 50 and len(read_folder(tmp_path / "made").data["y"]) == 50
    with pytest.raises(ModelError, match="simulations with another seed"):
        run(simulate, 50, tmp_path / "made", seed=1)
    with pytest.raises(ModelError, match="simulations with another simulator"):
        run(failing, 50, tmp_path / "made")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds no simulations"):
        run(simulate, 20, tmp_path / "other")
    with pytest.raises(ModelError, match=stores.ABOUT):
        read_folder(tmp_path / "other")


def shifted(mean, rng, by=0.0):
    return rng.normal(mean + by, 1, 3)


def shifted_by(by):
    return lambda mean, rng: shifted(mean, rng, by)


class Shifted:
    def __init__(self, by):
        self.by, self.calls = by, 0

    def __call__(self, mean, rng):
        self.calls += 1
        return shifted(mean, rng, self.by)


@pytest.mark.parametrize("make", [lambda by: partial(shifted, by=by), shifted_by, Shifted])
def test_settings_of_a_simulator_are_part_of_it(make, tmp_path):
    """A folder of one setting went on with another, and mixed both."""
    run(make(1.0), 20, tmp_path / "made")
    assert len(run(make(1.0), 30, tmp_path / "made").numbers) == 30
    with pytest.raises(ModelError, match="simulations with another simulator"):
        run(make(2.0), 30, tmp_path / "made")


BY = jnp.zeros(())


def shifted_by_an_array(mean, rng):
    return shifted(mean, rng, float(BY))


def test_an_array_of_jax_is_a_setting_too(monkeypatch):
    one = describe_simulator(shifted_by_an_array)
    assert one == describe_simulator(shifted_by_an_array)
    monkeypatch.setitem(shifted_by_an_array.__globals__, "BY", jnp.ones(()))
    assert one != describe_simulator(shifted_by_an_array)


def dies(mean, rng):
    import os

    if mean > 2:
        os._exit(1)
    return mean


def test_a_worker_that_dies_is_told(tmp_path):
    with pytest.raises(ModelError, match=r"worker process died .* kept"):
        run(dies, 400, tmp_path / "made", workers=2)


@pytest.mark.parametrize(
    ("simulator", "words"),
    [
        (3, "expected a function"),
        (lambda a, b: a, "nothing says what its arguments 'a', 'b' get"),
        (lambda *theta: theta, "have no names"),
        (lambda mean, rng, seed: mean, "'rng', 'seed'"),
    ],
)
def test_signatures_that_cannot_be_called(simulator, words):
    with pytest.raises(ModelError, match=words):
        read_signature(simulator, ["mean"])


def test_signatures():
    together = read_signature(lambda theta, seed: theta, ["a", "b"])
    assert together.arguments({"a": 1, "b": 2}, None) == {"theta": {"a": 1, "b": 2}}
    some = read_signature(lambda b, rows, key, scale=1.0: b, ["a", "b"])
    assert some.random == "key" and some.arguments({"a": 1, "b": 2}, 7) == {"b": 2, "rows": 7}


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        ({}, "an empty dict"),
        ({"a": 1.0}, "'a' with float"),
        (lambda x: x, "fails when it is drawn from"),
        (lambda: None, "it draws nothing"),
        (3, "got int"),
    ],
)
def test_what_is_no_prior(prior, words):
    with pytest.raises(ModelError, match=words):
        Prior(prior)
