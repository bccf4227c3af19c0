"""C2ST on six tasks of sbibm, with 10,000 simulations or with the likelihood.

Observations and reference draws lie in the wheel of `sbibm`; its path is to be in SBIBM, as in
`SBIBM=$(python -c "import sbibm; print(sbibm.__path__[0])") uv run pytest ...`.
"""

import numpy as np
import pytest
import sbibm_tasks as tasks

import amortppl as ap

pytestmark = [
    pytest.mark.skipif(tasks.folder("slcp") is None, reason="SBIBM: no sbibm there"),
    pytest.mark.filterwarnings("ignore::amortppl.UnreliableWarning"),
]

SIMULATIONS, OBSERVATIONS, DRAWS, STEPS = 10_000, (1, 2, 3), 2000, 12_000

BY_DATA = {"slcp": ("neural_likelihood", 4000)}
"""Methods and updates other than `parametric` and `STEPS`."""


def score(guide, name, data_of):
    """C2ST of each observation."""
    scores = []
    for number in OBSERVATIONS:
        post = guide.infer({"y": data_of(number)}, draws=DRAWS)
        reference = tasks.observation(name, number).reference[:DRAWS]
        scores.append(tasks.c2st(post["posterior"]["theta"].values[0], reference))
    return scores


@pytest.mark.parametrize("name", tasks.MODELS)
def test_data_alone(name, cost, say):
    method, steps = BY_DATA.get(name, ("parametric", STEPS))
    task = tasks.stored_task(name, SIMULATIONS, 0)
    with cost() as spent:
        guide = ap.train(task, method, steps=steps, progress=False)
    scores = score(guide, name, lambda number: tasks.seen(name, number))
    say(f"{name}, {method}: C2ST {np.round(scores, 3)}, training {spent.cpu:.0f} CPU s")
    assert np.mean(scores) <= {"slcp": 0.75, "two_moons": 0.57}.get(name, 0.65)


@pytest.mark.parametrize("name", tasks.MODELS)
def test_with_the_likelihood(name, cost, say):
    guide = ap.train(tasks.task_of(name, likelihood=True), "many_chains", progress=False)
    with cost() as spent:
        scores = score(guide, name, lambda number: tasks.observation(name, number).model)
    say(f"{name}, many_chains: C2ST {np.round(scores, 3)}, {spent.cpu:.0f} CPU s, tests included")
    assert np.mean(scores) <= 0.6
