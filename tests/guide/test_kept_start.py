"""What was learned against the start, on a posterior N(0, I) and guides N(0, s^2 I).

Their k-hat is 1 - s^2 at s < 1 (weights' tail) and below zero at s = 1.
"""

from types import SimpleNamespace

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from amortppl.guide.kept_start import learned_or_start
from amortppl.training.pooled import PooledTrainer
from amortppl.training.prepared_tasks import PreparedTasks

SIZE, TASKS = 3, 8


class Guide:
    def __init__(self, log_sd, keeps_start=True):
        self.log_sd, self.keeps_start = log_sd, keeps_start

    def recall(self, state, batch):
        return state

    def readout(self, state):
        return self

    def sample(self, key, draws):
        u = jr.normal(key, (draws, SIZE))
        return u * jnp.exp(self.log_sd), jnp.sum(-u * u / 2 - self.log_sd, -1)


def run(start, learned, keeps_start=True):
    """The weights kept of a run that began with sd `start` and learned another."""
    trainer = object.__new__(PooledTrainer)
    trainer.weights, trainer.seed, trainer.held = jnp.log(start), 0, TASKS
    trainer.task = SimpleNamespace(has_density=True, log_joint=lambda v, batch: -v @ v / 2)
    trainer.method = lambda weights: Guide(weights, keeps_start)
    tasks = PreparedTasks(np.zeros(TASKS), np.zeros(TASKS), np.ones(TASKS, bool))
    return float(jnp.exp(learned_or_start(trainer, jnp.log(learned), tasks)))


def test_the_start_is_kept_where_it_covers_more_and_the_learned_elsewhere():
    with pytest.warns(UserWarning, match="of 8 held-out tasks .* alone 100%"):
        assert run(1.0, 0.2) == 1.0
    assert run(0.2, 1.0) == 1.0
    assert abs(run(1.0, 1.1) - 1.1) < 1e-6
    assert abs(run(1.0, 0.2, keeps_start=False) - 0.2) < 1e-6
