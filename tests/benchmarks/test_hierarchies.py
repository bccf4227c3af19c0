"""What training hierarchical models costs, in CPU seconds: an update, and all of it.

`test_compile.py` has the first answer.
On a busy machine run it on one core (`taskset -c 0`): threads that wait for one another count as
CPU seconds.
"""

import time

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.training.pooled import PooledTrainer
from amortppl.training.schedule import Schedule
from amortppl.training.trainer import CHUNK

GROUPS = 20


def logistic(group, x, y=None):
    """Hierarchical logistic regression, 23 latents."""
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    sd = numpyro.sample("sd", dist.HalfNormal(1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("groups", GROUPS):
        z = numpyro.sample("z", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        logits = mean + sd * z[group] + slope * x
        numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


def logistic_task():
    """Of 32 to 128 rows."""
    inputs = {"group": dist.Categorical(logits=jnp.zeros(GROUPS)), "x": dist.Normal(0, 1)}
    return ap.Task(logistic, inputs, rows=(32, 128))


def test_an_update_of_hierarchical_logistic_regression(say):
    """128 tasks an update, their share of the simulation and of the search counted."""
    begin, spec, task = time.process_time(), ap.method("parametric"), logistic_task()
    built = time.process_time() - begin
    trainer = PooledTrainer(task, spec, Schedule(**spec.schedule(task)), 0)
    learner, spent = trainer.start(), []
    for chunk in range(3):
        steps = jnp.arange(chunk * CHUNK, (chunk + 1) * CHUNK)
        given = steps, trainer.keys(steps), jnp.zeros(CHUNK)
        learner, _ = jax.block_until_ready(trainer.advance(learner, *given, None))
        spent.append(time.process_time() - begin - built)
    update = (spent[2] - spent[1]) / CHUNK
    say(f"hierarchical logistic regression, {GROUPS} groups: task {built:.1f} CPU s, start and first "
        f"{CHUNK} updates {spent[0]:.1f}, then {update:.3f} an update (to reach: 0.2)")  # fmt: skip
    assert update < 1.0


@pytest.mark.parametrize("name", ["eight_schools", "partial_pooling_pyro", "logistic"])
def test_training_by_default(name, say):
    """Held-out loss of the averaged weights, first and last, and CPU seconds."""
    task = logistic_task() if name == "logistic" else ap.model(name)
    begin = time.process_time()
    guide = ap.train(task, progress=False)
    spent, losses = time.process_time() - begin, guide.record.held_out
    say(f"{name}: {guide.record.steps} updates in {spent:.0f} CPU s; held-out loss "
        f"{losses[0]:.2f} after {CHUNK}, {losses[-1]:.2f} at the end")  # fmt: skip
    assert losses[-1] < losses[0] + 0.2
