"""Training: repeatable, resumable, traced once, and clear about what goes wrong."""

import json
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import TrainingError
from amortppl.method import Target
from amortppl.task.batch import Batch
from amortppl.training import checkpoint
from amortppl.training.loop import _chunks
from amortppl.training.schedule import Schedule
from amortppl.training.trainer import CHUNK, Trainer
from conjugate import SMALL, mean_model, mean_posterior

DATA_ONLY = {"signals": ("data",), "width": 4, "hidden": 8, "density": "gaussian"}
"""Compiles in a second or two."""


def wide_model(rows, y=None):
    """`mean_model` with a prior five times as wide."""
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    with numpyro.plate("obs", rows):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def quick(**schedule):
    given = {"steps": 50, "batch": 8, "progress": False} | schedule
    return ap.train(ap.Task(mean_model, rows=8), ap.method("parametric", **DATA_ONLY), **given)


def weights(guide):
    return [np.asarray(a) for a in jax.tree.leaves(guide.method) if isinstance(a, jax.Array)]


def unstacked(arrays):
    """A dict of arrays with a leading axis as one dict for each of its entries."""
    return [dict(zip(arrays, values, strict=True)) for values in zip(*arrays.values(), strict=True)]


def assert_same(a, b):
    for x, y in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def unbroken():
    return quick(steps=60)


def test_same_seed_same_weights(unbroken):
    again = quick(steps=60)
    assert_same(unbroken, again)
    assert unbroken.record.losses == again.record.losses


def test_another_seed_other_weights(unbroken):
    assert unbroken.record.losses != quick(steps=60, seed=1).record.losses


@pytest.mark.parametrize("steps", [1, 25, 60])
def test_any_number_of_steps_is_made_exactly(steps):
    record = quick(steps=steps).record
    assert (
        record.steps == steps
        and record.tasks == 8 * steps
        and record.skipped == record.unusable == 0
    )
    assert len(record.losses) == len(record.held_out) == -(-steps // CHUNK)


class Killed(BaseException):
    pass


def test_a_killed_run_resumes_to_the_same_weights(unbroken, tmp_path, monkeypatch):
    """Killed after the first chunk was kept, as by a lost machine."""
    module = sys.modules["amortppl.training.loop"]
    made = []

    def keep_and_die(*args):
        checkpoint.save_run(*args)
        made.append(args)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_run", keep_and_die)
        clock = iter(range(0, 10**6, 30))
        patch.setattr(module.time, "monotonic", lambda: float(next(clock)))
        with pytest.raises(Killed):
            quick(steps=60, checkpoint=tmp_path / "run.ckpt")
    assert json.loads(json.dumps(made[0][3]))["steps"] == CHUNK
    resumed = quick(steps=60, resume=tmp_path / "run.ckpt")
    assert_same(unbroken, resumed)
    assert resumed.record.losses == unbroken.record.losses and resumed.record.steps == 60


def test_a_finished_run_resumes_to_itself(unbroken, tmp_path):
    quick(steps=60, checkpoint=tmp_path / "run.ckpt")
    assert_same(unbroken, quick(steps=60, resume=tmp_path / "run.ckpt"))


def test_resume_refuses_another_run(tmp_path):
    quick(steps=25, checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(TrainingError, match="another schedule"):
        quick(steps=50, resume=tmp_path / "run.ckpt")
    with pytest.raises(TrainingError, match="another seed"):
        quick(steps=25, seed=3, resume=tmp_path / "run.ckpt")
    other = ap.Task(wide_model, rows=8)  # the same sites, with another prior
    with pytest.raises(TrainingError, match="another task"):
        ap.train(
            other,
            ap.method("parametric", **DATA_ONLY),
            steps=25,
            batch=8,
            resume=tmp_path / "run.ckpt",
            progress=False,
        )
    with pytest.raises(TrainingError, match="found none"):
        quick(steps=25, resume=tmp_path / "nothing")
    content = (tmp_path / "run.ckpt").read_bytes()
    (tmp_path / "run.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match="cut short"):
        quick(steps=25, resume=tmp_path / "run.ckpt")


def test_traced_once():
    trainer = Trainer(
        ap.Task(mean_model, rows=8),
        ap.method("parametric", **DATA_ONLY),
        Schedule(steps=100, batch=8),
        0,
    )
    learner = trainer.start()
    for steps, fractions in _chunks(trainer.schedule, 0, time.monotonic()):
        learner, _ = trainer.advance(learner, steps, trainer.keys(steps), fractions, trainer.pool)
    assert trainer.advance._cache_size() == 1


@pytest.mark.slow
def test_the_loss_of_a_batch_is_the_mean_over_its_datasets(parts_as_users_have):
    """Small and large tasks lie in parts padded to 15 and to 32 rows; each is scored alone, without
    padding.
    """
    task = ap.Task(mean_model, rows=(4, 32))
    trainer = Trainer(task, ap.method("parametric", **DATA_ONLY), Schedule(steps=1, batch=16), 0)
    assert [(p.tasks, p.rows) for p in trainer.layout] == [(10, 15), (6, 32)]
    episodes = trainer._episodes(jax.random.key(1), jnp.array(False), None)
    method, scores = trainer.method(trainer.weights), []
    datasets = [
        Batch(*each)
        for b in episodes.batches
        for each in zip(unstacked(b.data), b.mask, strict=True)
    ]
    for data, latents in zip(datasets, episodes.target.latents, strict=True):
        rows = int(data.mask.sum())
        assert data.mask[:rows].all()
        alone = Batch({n: v[:rows] for n, v in data.data.items()}, data.mask[:rows])
        scores.append(float(method.score(method.step(method.init(), alone), Target(latents, {}))))
    loss, finite = trainer._loss(trainer.weights, episodes)
    assert finite == 1.0
    np.testing.assert_allclose(loss, np.mean(scores), rtol=1e-5)


def test_loss_falls():
    record = quick(steps=300, rate=1e-2).record
    assert record.held_out[-1] < record.held_out[0] - 0.2


@pytest.mark.filterwarnings("ignore:train. only")  # on a busy machine
def test_minutes_end_by_the_clock():
    record = quick(steps=None, minutes=0.03).record
    assert record.steps > 0 and record.steps % CHUNK == 0


def test_minutes_are_counted_in_whole_chunks(monkeypatch):
    """A clock on which every chunk takes a second: six chunks in a tenth of a minute."""
    now = [100.0]
    monkeypatch.setattr(
        sys.modules["amortppl.training.loop"],
        "time",
        types.SimpleNamespace(monotonic=lambda: now[0]),
    )
    fractions = []
    for _, along in _chunks(Schedule(minutes=0.1), 0, begin=100.0):
        fractions.append(float(along[0]))
        now[0] += 1.0
    np.testing.assert_allclose(fractions, np.arange(6) / 6, atol=1e-6)


def test_too_few_minutes_make_one_round_and_say_so():
    with pytest.warns(UserWarning, match=r"only 25 updates were made in 0.0001 minutes"):
        record = quick(steps=None, minutes=0.0001).record
    assert record.steps == 25


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 0}, "steps: expected a whole number, at least 1, got 0"),
        ({"steps": -1}, "got -1"),
        ({"steps": None, "minutes": 0}, "minutes: expected a finite number above 0"),
        ({"steps": None, "minutes": float("nan")}, "got nan"),
        ({"seed": 2**64}, "seed: expected"),
        ({"batch": 0}, "batch: expected"),
        ({"rate": float("inf")}, "rate: expected"),
        ({"batchs": 3}, "did you mean 'batch'"),
    ],
)
def test_lengths_of_training_are_named(given, words):
    with pytest.raises(TrainingError, match=words):
        quick(**given)


def test_steps_and_minutes_exclude_each_other():
    with pytest.raises(TrainingError, match="not both"):
        quick(steps=5, minutes=1)


@pytest.mark.slow
def test_a_fixed_number_of_simulations():
    guide = quick(steps=100, simulations=100)
    assert guide.record.steps == 100
    assert np.isfinite(guide.record.held_out).all()
    assert_same(guide, quick(steps=100, simulations=100))


def test_a_pool_keeps_each_task_with_its_own_rows():
    """Sizes that vary: the latents of a picked task are those that made its rows (sd of the error
    1/sqrt(4)).
    """

    def model(rows, y=None):
        mu = numpyro.sample("mu", dist.Normal(0, 100))
        with numpyro.plate("obs", rows):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    trainer = Trainer(
        ap.Task(model, rows=(4, 32)),
        ap.method("parametric"),
        Schedule(simulations=200, batch=16),
        0,
    )
    picked = trainer._episodes(jax.random.key(1), jnp.array(False), trainer.pool)
    (batch,) = picked.batches
    means = np.sum(np.asarray(batch.data["y"]) * batch.mask, 1) / np.sum(batch.mask, 1)
    assert len(set(np.sum(batch.mask, 1).tolist())) > 3
    np.testing.assert_allclose(
        means, picked.target.latents[:, 0], atol=2.5
    )  # 5 sd: a false alarm below 1e-5


def test_no_likelihood_is_needed_by_data_alone():
    """log_prob may be missing where only data are seen."""

    class Simulator(dist.Normal):
        def log_prob(self, value):
            return jnp.full(jnp.shape(value), jnp.nan)

    def model(rows, y=None):
        mu = numpyro.sample("mu", dist.Normal(0, 2))
        with numpyro.plate("obs", rows):
            numpyro.sample("y", Simulator(mu, 1), obs=y)

    record = ap.train(
        ap.Task(model, rows=8),
        ap.method("parametric", **DATA_ONLY),
        steps=25,
        batch=8,
        progress=False,
    ).record
    assert np.isfinite(record.losses).all()


@pytest.mark.slow
def test_mini_batches_are_unrolled():
    """Four steps of two rows each, as good at the end as one of eight: the model is conjugate."""
    task = ap.Task(mean_model, rows=8)
    guide = ap.train(
        task, ap.method("parametric", **SMALL), steps=25, batch=8, mini_batches=4, progress=False
    )
    y = np.random.default_rng(0).normal(1, 1, 8)
    state = guide.init()
    for i in range(4):
        state = guide.step(state, {"y": y[2 * i : 2 * i + 2]})
    mean, sd = mean_posterior(y)
    draws = guide.posterior(state).sample(jax.random.key(0), 2000)[0]
    assert abs(float(draws.mean()) - mean) < 0.2 * sd
    assert abs(np.log(float(draws.std()) / sd)) < 0.2


def overflowing(scale):
    def model(rows, y=None):
        slope = numpyro.sample("slope", dist.Normal(0, scale))
        with numpyro.plate("obs", rows):
            numpyro.sample("y", dist.Normal(jnp.exp(slope), 1), obs=y)

    return model


def test_overflowing_simulations_are_counted():
    """exp overflows above 88: about 4% of N(0, 50^2)."""
    guide = ap.train(
        ap.Task(overflowing(50), rows=8),
        ap.method("parametric", **DATA_ONLY),
        steps=25,
        batch=64,
        progress=False,
    )
    assert 0 < guide.record.unusable < 0.12 * guide.record.tasks
    assert all(np.isfinite(w).all() for w in weights(guide))


def test_persistent_overflow_stops_and_names_the_latent():
    """exp overflows in nearly half of N(0, 5000^2); with a square root of a negative, in all."""

    def model(rows, y=None):
        slope = numpyro.sample("slope", dist.Normal(0, 1))
        with numpyro.plate("obs", rows):
            numpyro.sample(
                "y", dist.Normal(jnp.sqrt(-1.0 - slope**2), 1, validate_args=False), obs=y
            )

    with pytest.raises(TrainingError) as caught:
        ap.train(
            ap.Task(model, rows=8),
            ap.method("parametric", **DATA_ONLY),
            steps=100,
            batch=8,
            progress=False,
        )
    assert all(
        word in str(caught.value)
        for word in ("'y' is not finite in 256 of 256", "slope", "after 50 steps")
    )


def test_progress_says_where_it_is(capsys):
    ap.train(ap.Task(mean_model, rows=8), ap.method("parametric", **DATA_ONLY), steps=50, batch=8)
    printed = capsys.readouterr().err
    assert "compiling" in printed and "step 50  100%" in printed and "held-out" in printed
    assert re.search(r"compiling\n  50 updates will take about \d+ second", printed)


def test_unknown_names():
    with pytest.raises(LookupError, match="did you mean 'parametric'"):
        ap.train(ap.Task(mean_model, rows=8), "parametrik")
    with pytest.raises(TrainingError, match=r"stepz.*did you mean 'steps'"):
        ap.train(ap.Task(mean_model, rows=8), stepz=3)


ON_DEVICES = """
import json, sys, jax
sys.path.insert(0, sys.argv[1])
import amortppl as ap
from conjugate import mean_model
spec = ap.method("parametric", signals=("data",), width=4, hidden=8, density="gaussian")
guide = ap.train(ap.Task(mean_model, rows=8), spec, steps=50, batch=32, progress=False)
print(json.dumps([jax.device_count(), guide.record.losses, guide.record.held_out]))
"""


@pytest.mark.slow
def test_four_devices_learn_the_same():
    """Sums run in another order: equal to float32's precision, amplified by 50 updates."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    env = os.environ | flags | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, "-c", ON_DEVICES, str(Path(__file__).parents[1])]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    devices, losses, held_out = json.loads(ran.stdout)
    one = quick(steps=50, batch=32).record
    assert devices == 4
    np.testing.assert_allclose(losses, one.losses, rtol=1e-3)
    np.testing.assert_allclose(held_out, one.held_out, rtol=1e-3)


def test_methods_without_weights_make_no_update():
    task = ap.model("gaussian_mean", rows=(4, 8))
    with pytest.warns(UserWarning, match="nothing is learned for gaussian_mean by this method"):
        guide = ap.train(task, "laplace", steps=3, progress=False)
    assert guide.record.steps == 0
    with pytest.raises(TrainingError, match="unlabelled: nothing is learned for gaussian_mean"):
        ap.train(task, "laplace", unlabelled=[{"y": [0.0, 1.0, 0.0, 1.0]}], progress=False)
