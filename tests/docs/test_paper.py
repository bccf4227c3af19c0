"""The script of docs/paper.md: which runs it makes, what it skips, and its tables of known lines."""

import json
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import norm

import amortppl as ap
from doc_tools import ROOT

sys.path.append(str(ROOT / "docs"))

from paper.contenders import PLAN
from paper.generation import _of_posterior, energy
from paper.results import Results
from paper.run import plan, restored, run
from paper.tables import TABLES, bound, steps_help


def line(task, method, seed, tests):
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "seconds": 15.0,
        "updates": 100,
        "depths": [1, 2, 5, 10, 20],
        "lpd": {t: np.asarray(v).tolist() for t, v in tests.items()},
    }


@pytest.fixture
def folder(tmp_path):
    """Exact -1.4 .. -1.0; a method 0.1 nats below at K = 1 and 0.02 at K = 20, two seeds."""
    exact = np.linspace(-1.4, -1.0, 5) * np.ones((4, 1))
    below = np.array([0.1, 0.08, 0.05, 0.03, 0.02])
    (tmp_path / "line5").mkdir()
    for seed in (0, 1):
        for method, lpd in (("exact", exact), ("explicit", exact - below)):
            written = line("line5", method, seed, {"like": lpd, "shifted": lpd - 1})
            path = tmp_path / "line5" / f"{method}-{seed}.json"
            path.write_text(json.dumps(written))
    return tmp_path


def test_shares_and_gaps_are_those_of_the_lines(folder):
    rows = "\n".join(bound(Results(folder)))
    assert "| explicit | 2, 100 | 0.1000 ± 0.0000 |" in rows
    assert "| 0.950 |" in rows  # 1 - 0.02 / 0.4
    assert "*2 seeds, 15 CPU s of training, " in rows
    steps = "\n".join(steps_help(Results(folder)))
    assert "| regression, d = 5, shifted | explicit | 2 | -2.500 |" in steps
    assert steps.count("0.370 ± 0.000 | yes |") == 2


def test_every_table_stands_without_results(tmp_path):
    for table in TABLES:
        list(table(Results(tmp_path)))


def test_runs_are_planned_seed_by_seed_and_not_made_twice(folder):
    chosen = plan(["line5/implicit", "line5/exact"], 2)
    assert chosen[0] == ("line5", "implicit", 0) and chosen[-1] == ("line5", "exact", 1)
    assert {s for _, _, s in chosen} == {0, 1}
    assert len(plan([], 1)) > sum(len(methods) for methods in PLAN.values())
    before = (folder / "line5" / "exact-0.json").read_text()
    run("line5", "exact", 0, 1.0, folder)
    assert (folder / "line5" / "exact-0.json").read_text() == before


def test_energy_distance_of_equal_laws_is_zero_and_of_a_shift_is_not():
    """Against 2 sqrt(2) E chi-like lengths by simulation: its standard error is below 0.02."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1000, 2))
    assert type(energy(np.float32(a), np.float32(b))) is float  # JSON holds no other
    assert abs(energy(a, b)) < 0.02 and energy(a, b + np.array([2.0, 0.0])) > 1.0


@pytest.mark.slow
def test_points_of_a_mixture_are_drawn_from_its_posterior():
    """A posterior that is the zero vector: weights of a third, gaps of a quarter, spreads of one."""
    task = ap.model("mixture_2d")
    drawn = SimpleNamespace(sample=lambda key, n: (jnp.zeros((n, task.latents.size)), None))
    method = SimpleNamespace(
        task=task, predicts=False, init=lambda: jnp.zeros(()), step=lambda state, batch: state,
        readout=lambda state: drawn,
    )  # fmt: skip
    points = jax.vmap(lambda key: _of_posterior(method, jnp.zeros((16, 2)), key))(
        jr.split(jr.key(0), 16)
    )
    centres, spread = 2 * norm.ppf([0.25, 0.5, 0.75]), 1.0
    for axis, sd in ((0, np.hypot(np.std(centres), spread)), (1, spread)):
        # 3200 points: of correct programs one in 10^6 is 5 standard errors off
        assert abs(np.asarray(points)[..., axis].std() / sd - 1) < 5 / (2 * 3200) ** 0.5


@pytest.mark.slow
def test_a_run_trains_measures_and_keeps_what_it_trained(tmp_path):
    run("line5", "learned optimiser", 0, 0.5, tmp_path)
    written = json.loads((tmp_path / "line5" / "learned_optimiser-0.json").read_text())
    assert np.shape(written["lpd"]["shifted"]) == (128, 5) and written["updates"] >= 1
    assert not restored(tmp_path, "line5", "learned optimiser", 0).predicts
