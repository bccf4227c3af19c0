"""Rows in groups are compared with the rows as they came, not with the engine's copy of them."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.data.groups import Lines
from amortppl.posterior.draws import Drawn
from amortppl.trust.group_parity import judge_groups
from amortppl.trust.parity import Parity

DATA = {
    "school": ["b", "a", "b", "c", "a", "b", "c", "c"],
    "y": np.array([0.1, 2.0, -0.3, 1.2, 2.4, 0.2, 0.9, 1.5], np.float32),
}
DRAWN = Drawn(jnp.array([[[0.4]]]), jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros((1, 0)))
ARRANGE = Lines.arrange


def effects(school, n_school, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    with numpyro.plate("schools", n_school):
        effect = numpyro.sample("effect", dist.Normal(mean, 0.8))
    with numpyro.plate("row", school.shape[0]):
        numpyro.sample("y", dist.Normal(effect[school], 0.5), obs=y)


@pytest.fixture(scope="module")
def task():
    return ap.Task(effects, groups={"school": (2, 6)}, rows=(1, 4))


def judged(task):
    parity = Parity(*np.zeros((2, 1)), *np.ones((2, 1), bool))
    notes = judge_groups(task, [read(task, DATA)], DRAWN, parity)
    return notes, bool(parity.agrees[0])


def test_rows_as_they_are_agree(task):
    """Nothing is random: no false alarms."""
    assert judged(task) == ({}, True)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda groups, values: ARRANGE(groups, values[::-1]),  # another row's number
        lambda groups, values: ARRANGE(groups, values)[[1, 0, 2]],  # another group's
        lambda groups, values: ARRANGE(groups, values[np.maximum(np.arange(len(values)), 1)]),
    ],
)
def test_rows_that_the_engine_misplaces_are_seen(task, arrange, monkeypatch):
    """The arrangement and its inverse are of one piece, so the check must use neither."""
    monkeypatch.setattr(Lines, "arrange", arrange)
    notes, agrees = judged(task)
    assert "rows in groups of 'school'" in notes[0] and not agrees


def test_labels_of_another_group_are_seen(task):
    """The index comes from each row's own label."""
    dataset = read(task, DATA)
    wrong = dataset._replace(groups=dataset.groups._replace(labels=["b", "a", "c"]))
    parity = Parity(*np.zeros((2, 1)), *np.ones((2, 1), bool))
    assert judge_groups(task, [wrong], DRAWN, parity) and not parity.agrees[0]
