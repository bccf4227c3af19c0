"""Every hierarchical model of models/, trained for some updates and asked once: nothing raises, all
draws are finite, and each latent and effect is there. CPU seconds of each are said.

    uv run pytest tests/benchmarks/test_hierarchical_models.py -n0 -s

What so few updates learn is not measured; docs/measured/hierarchies.md has figures of whole runs.
"""

import time
import warnings

import jax.random as jr
import numpy as np
import pytest

import amortppl as ap
from amortppl.task.group_summary import as_user_data

MODELS = (
    "radon",
    "sleep_study",
    "crossed",
    "item_response",
    "meta_analysis",
    "hierarchical_logistic",
    "overdispersed_poisson",
    "grouped_counts",
    "panel",
)
UPDATES = {"steps": 5, "batch": 8, "pool": 4}


@pytest.mark.parametrize("name", MODELS)
def test_trained_shortly_and_asked_once(name, say):
    begin, task = time.process_time(), ap.model(name)
    guide = ap.train(task, progress=False, **UPDATES)
    trained = time.process_time() - begin
    draw = task.simulate(jr.key(3), 7 if task.grouping else task.rows[0])
    data = {n: np.asarray(v) for n, v in draw.data.items()}
    data = as_user_data(task.group_layout, data) if task.grouping else data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 5 updates answer badly, and say so
        post = guide.infer(data, draws=200)
    own = {*task.latents.names, *task.local.sites} if task.grouping else {*task.latents.names}
    assert own <= {*post.posterior.data_vars}
    assert all(np.isfinite(post.posterior[n]).all() for n in own)
    assert bool(post.sample_stats["log_joint_agrees"])
    asked = time.process_time() - begin - trained
    say(
        f"{name}: trained in {trained:.0f} CPU s, asked in {asked:.0f}, {task.latents.size} latents"
    )
