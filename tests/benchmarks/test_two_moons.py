"""Two moons from 10,000 simulations, data signal alone; sbi and BayesFlow beside it where
installed.
"""

import importlib.util

import jax
import jax.random as jr
import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier

import amortppl as ap

SIMULATIONS, DRAWS, OBSERVATIONS = 10_000, 2000, 10


def c2st(draws, reference):
    """Accuracy of a perceptron, 5-fold, as sbibm: two layers of 10 units a dimension."""
    centre, spread = reference.mean(0), reference.std(0)
    points = (np.concatenate([draws, reference]) - centre) / spread
    classifier = MLPClassifier((20, 20), max_iter=1000, random_state=1)
    return float(cross_val_score(classifier, points, np.repeat([0, 1], len(draws)), cv=5).mean())


def simulated(count, seed):
    task = ap.model("two_moons")
    draws = jax.jit(jax.vmap(lambda k: task.simulate(k, 1)))(jr.split(jr.key(seed), count))
    theta = jax.vmap(lambda v, d: task.constrain(v, d)["theta"])(draws.latents, draws.data)
    return np.asarray(theta), np.asarray(draws.data["y"])[:, 0]


def score(sample):
    """Mean C2ST over fresh observations; `sample(y)` gives draws (S, 2)."""
    from amortppl.models.two_moons import exact_posterior

    scores = []
    for i, y in enumerate(simulated(OBSERVATIONS, 123)[1]):
        scores.append(
            c2st(sample(y), np.asarray(exact_posterior({"y": y}, jr.key(i), DRAWS)["theta"]))
        )
    return scores


@pytest.fixture(scope="module")
def ours():
    return {}


def test_ours(ours, cost, say):
    with cost() as spent:
        guide = ap.train(ap.model("two_moons"), simulations=SIMULATIONS, progress=False)
    scores = score(lambda y: guide.infer({"y": y}, draws=DRAWS)["posterior"]["theta"].values[0])
    ours["cpu"] = spent.cpu
    say(
        f"amortppl: C2ST {np.mean(scores):.3f} ({min(scores):.3f} to {max(scores):.3f}), training "
        f"{spent.cpu:.0f} CPU s"
    )
    assert np.mean(scores) <= 0.545


@pytest.mark.filterwarnings("ignore")  # of what it is built on
@pytest.mark.skipif(
    not importlib.util.find_spec("sbi"), reason="sbi is not installed (extra `bench`)"
)
def test_beside_sbi(ours, cost, say):
    import torch
    from sbi.inference import NPE
    from sbi.utils import BoxUniform

    torch.manual_seed(0)
    theta, y = (torch.as_tensor(np.array(a)) for a in simulated(SIMULATIONS, 0))
    with cost() as spent:
        trainer = NPE(
            BoxUniform(-torch.ones(2), torch.ones(2)),
            density_estimator="nsf",
            show_progress_bars=False,
        )
        posterior = trainer.append_simulations(theta, y).train() and trainer.build_posterior()
    scores = score(
        lambda y: posterior.sample(
            (DRAWS,), x=torch.as_tensor(np.array(y)), show_progress_bars=False
        ).numpy()
    )
    say(
        f"sbi NPE (spline flow): C2ST {np.mean(scores):.3f}, training {spent.cpu:.0f} CPU s, ours "
        f"{ours['cpu'] / spent.cpu:.2f} of it"
    )
    assert ours["cpu"] <= 0.5 * spent.cpu


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    not importlib.util.find_spec("bayesflow"), reason="bayesflow is not installed (extra `bench`)"
)
def test_beside_bayesflow(ours, cost, say, monkeypatch):
    """Its own workflow by its defaults: standardised, AdamW with a cosine schedule, a spline
    coupling flow.
    """
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    import bayesflow
    import keras

    keras.utils.set_random_seed(0)
    theta, y = simulated(SIMULATIONS, 0)
    with cost() as spent:
        workflow = bayesflow.BasicWorkflow(
            inference_network=bayesflow.networks.CouplingFlow(transform="spline"),
            inference_variables=["theta"],
            inference_conditions=["y"],
        )
        workflow.fit_offline({"theta": theta, "y": y}, verbose=0)
    scores = score(
        lambda y: np.asarray(
            workflow.sample(num_samples=DRAWS, conditions={"y": y[None]})["theta"]
        )[0]
    )
    say(
        f"BayesFlow {bayesflow.__version__} (spline coupling flow, 100 epochs): C2ST "
        f"{np.mean(scores):.3f}, training "
        f"{spent.cpu:.0f} CPU s, ours {ours['cpu'] / spent.cpu:.2f} of it"
    )
    assert ours["cpu"] <= 0.5 * spent.cpu
