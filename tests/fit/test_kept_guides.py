"""A further dataset of the same structure is answered by the guide that is there."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.fit.kept_guides import KEPT
from amortppl.fit.untrained_guide import untrained_guide

PRIOR = {"mean": 0.0, "far": 3.0, "unit": 1.0, "weight": jnp.ones(())}


def model(x, power, y=None):
    slope = numpyro.sample("slope", dist.Normal(PRIOR["mean"], 0.1))
    numpyro.deterministic("in_units", slope * PRIOR["unit"])
    line = jnp.where(x > PRIOR["far"], -slope, slope) * jnp.power(x, power)
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(PRIOR["weight"] * line, 1.0), obs=y)


def groups(school, n_school, y=None):
    with numpyro.plate("schools", n_school):
        effect = numpyro.sample("effect", dist.Normal(0, 1))
    shift = numpyro.sample("shift", dist.Normal(PRIOR["mean"], 1))
    with numpyro.plate("row", school.shape[0]):
        numpyro.sample("y", dist.Normal(effect[school] + shift, 1.0), obs=y)


def dataset(rows, seed=0):
    random = np.random.default_rng(seed)
    x = random.uniform(1, 2, rows)
    return {"x": x, "power": 1, "y": 0.1 * x + random.normal(size=rows)}


def exact(data, mean):
    """Mean and sd of the slope, in closed form."""
    precision = 100 + np.sum(data["x"] ** 2)
    return (100 * mean + data["x"] @ data["y"]) / precision, precision**-0.5


@pytest.fixture(scope="module")
def first():
    KEPT.clear()
    yield ap.fit(model, dataset(12))
    KEPT.clear()


def test_other_rows_compile_nothing_and_are_answered_as_alone(first):
    """Means of 1,000 draws are 0.16 sd off once in 10^6."""
    data = dataset(15, seed=1)
    with ap.timings() as spent:
        post = ap.fit(model, data)
    assert spent.total.compiled == 0
    centre, sd = exact(data, 0.0)
    assert abs(float(post["posterior"]["slope"].mean()) - centre) < 0.16 * sd
    assert int(post["sample_stats"]["rows"]) == 15
    assert not np.array_equal(post["posterior"]["slope"], first["posterior"]["slope"])


def test_a_model_that_reads_what_has_changed_is_read_anew(first, monkeypatch):
    monkeypatch.setitem(PRIOR, "mean", 5.0)
    data = dataset(12)
    centre, sd = exact(data, 5.0)
    post = ap.fit(model, data)
    assert abs(float(post["posterior"]["slope"].mean()) - centre) < 0.16 * sd
    assert bool(post["sample_stats"]["reliable"])


@pytest.mark.parametrize("what", [("far", 1.5), ("unit", 10.0), ("weight", 2 * jnp.ones(()))])
def test_whatever_a_model_reads_is_seen(first, monkeypatch, what):
    """Of few rows alone, of a deterministic site alone, of an array."""
    monkeypatch.setitem(PRIOR, *what)
    assert KEPT.find(model, dataset(12), 0, {"groups": None}) is None


def test_a_model_of_groups_is_read_anew_too(monkeypatch):
    """Its density is compiled with the effects as arguments."""
    data = {"school": np.repeat([0, 1, 2], 3), "y": np.arange(9.0)}
    KEPT.keep(groups, data, 0, {}, untrained_guide(groups, [data]))
    assert KEPT.find(groups, data, 0, {}) is not None
    monkeypatch.setitem(PRIOR, "mean", 1.0)
    assert KEPT.find(groups, data, 0, {}) is None


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, True),
        (dataset(9, seed=2), True),
        (dataset(5), False),
        ({"power": 2}, False),
        ({"x": np.ones((12, 1))}, False),
        ({"x": np.arange(12)}, False),
        ({"x": np.full(12, np.nan)}, False),
    ],
    ids=["same", "fewer rows", "few rows", "a constant", "a column", "whole numbers", "missing"],
)
def test_what_another_task_is_made_of(first, change, found):
    """Each of these is a part of the program, or of how the data are read."""
    labels = {"groups": None}
    assert (KEPT.find(model, dataset(12) | change, 0, labels) is not None) == found


def test_an_array_that_its_owner_writes_into_is_another(first):
    """Of the arguments that are no rows the values are part of the program."""
    power = np.array(1)
    data = dataset(12) | {"power": power}
    KEPT.keep(model, data, 3, {}, KEPT.find(model, dataset(12), 0, {"groups": None}))
    assert KEPT.find(model, data, 3, {}) is not None
    power += 1
    assert KEPT.find(model, data, 3, {}) is None


def test_another_seed_and_another_function_are_others(first):
    labels = {"groups": None}
    assert KEPT.find(model, dataset(12), 1, labels) is None
    assert KEPT.find(lambda x, power, y=None: model(x, power, y), dataset(12), 0, labels) is None
    assert KEPT.find(model, dataset(12), 0, {"groups": {"school": ["a"]}}) is None
