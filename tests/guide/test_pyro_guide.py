"""A guide in Pyro's SVI, Importance, Predictive and MCMC."""

import pytest

pytest.importorskip("torch", reason="the extra `pyro` is not installed")

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, SVI, Importance, Predictive, Trace_ELBO, TraceMeanField_ELBO

import amortppl as ap
import pyro
from amortppl.errors import DataError
from amortppl.guide.pyro_guide import _Draws
from conjugate import SMALL

Y = torch.linspace(-1.0, 2.0, 10)
DRAWS = 200
"""Drawn at once: another number is another program, 3 CPU s and 5 with its gradient."""
EVIDENCE = float(
    dist.MultivariateNormal(torch.zeros(10), torch.eye(10) + 4 * torch.ones(10, 10)).log_prob(Y)
)


def model(rows, y=None):
    """y_i ~ N(w_1 + w_2 + z_1 + z_2, 1), all standard normal: y ~ N(0, I + 4 11')."""
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("group", 2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("row", rows):
        return pyro.sample("y", dist.Normal(w.sum(-1) + z.sum(-1, keepdim=True), 1.0), obs=y)


@pytest.fixture(scope="module")
def guide():
    return ap.train(
        ap.Task(model, rows=(8, 16)),
        ap.method("parametric", **SMALL),
        steps=50,
        batch=16,
        progress=False,
    )


@pytest.fixture(autouse=True)
def fresh():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def test_sites_are_the_models(guide):
    values = guide.to_pyro()(10, Y)
    assert {n: tuple(v.shape) for n, v in values.items()} == {"w": (2,), "z": (2,)}
    assert all(v.dtype == torch.float32 for v in values.values())


@pytest.mark.parametrize(
    "options",
    [{}, {"vectorize_particles": True}, {"vectorize_particles": True, "max_plate_nesting": 3}],
)
def test_elbo_is_close_to_the_evidence(guide, options):
    """The untuned guide of a conjugate model is nearly exact: its bound is within 0.3 of the
    evidence.
    """
    bound = -Trace_ELBO(num_particles=DRAWS, **options).loss(model, guide.to_pyro(), 10, Y)
    assert EVIDENCE - 0.3 < bound < EVIDENCE + 0.1


def test_other_elbos(guide):
    bound = -TraceMeanField_ELBO(num_particles=100).loss(model, guide.to_pyro(), 10, Y)
    assert EVIDENCE - 0.3 < bound < EVIDENCE + 0.1


def test_importance_finds_the_evidence(guide):
    weights = torch.tensor(
        Importance(model, guide.to_pyro(), num_samples=500).run(10, Y).log_weights
    )
    assert abs(float(torch.logsumexp(weights, 0)) - np.log(500) - EVIDENCE) < 0.1


def test_svi_moves_the_weights(guide):
    bridge = guide.to_pyro()
    elbo = Trace_ELBO(num_particles=DRAWS, vectorize_particles=True)
    svi = SVI(model, bridge, pyro.optim.Adam({"lr": 1e-3}), elbo)
    losses = [svi.step(10, Y) for _ in range(5)]
    moved = pyro.param("amortppl_weights").detach().numpy() - np.asarray(bridge.initial)
    assert np.isfinite(losses).all()
    assert 1e-4 < np.abs(moved).max() < 1e-2


def test_gradient_is_that_of_the_draws(guide):
    """Against central differences along one direction, in float32."""
    bridge, data = guide.to_pyro(), {"y": jnp.asarray(Y.numpy())}
    weights = torch.from_numpy(np.array(bridge.initial)).requires_grad_()

    def total(at):
        return sum(o.sum() for o in _Draws.apply(bridge, jr.key(0), data, DRAWS, at))

    (slope,) = torch.autograd.grad(total(weights), weights)
    with torch.no_grad():
        step = 1e-2 * slope / slope.norm()
        difference = (total(weights + step) - total(weights - step)) / 2e-2
    assert float(slope.norm()) > 0
    assert abs(float(difference / slope.norm()) - 1) < 0.1


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_draws_are_distinct(guide, parallel):
    predictive = Predictive(
        model, guide=guide.to_pyro(), num_samples=DRAWS, parallel=parallel, return_sites=("w", "z")
    )
    predicted = predictive(10, Y)
    assert {n: (v.numel(), len(torch.unique(v))) for n, v in predicted.items()} == {
        "w": (2 * DRAWS, 2 * DRAWS),
        "z": (2 * DRAWS, 2 * DRAWS),
    }


def test_same_seed_same_draws(guide):
    bridge = guide.to_pyro()
    pyro.set_rng_seed(3)
    first = bridge(10, Y)["w"]
    pyro.set_rng_seed(3)
    assert torch.equal(bridge(10, Y)["w"], first)
    assert not torch.equal(bridge(10, Y)["w"], first)


def test_double_data_give_double_latents(guide):
    assert guide.to_pyro()(10, Y.double())["w"].dtype == torch.float64


def test_nuts_starts_from_the_guide(guide):
    bridge = guide.to_pyro()
    kernel, starts = bridge.start_nuts({"rows": 10, "y": Y}, chains=1)
    assert {n: tuple(v.shape) for n, v in starts.items()} == {"w": (2,), "z": (2,)}
    assert bridge.start_nuts({"rows": 10, "y": Y}, chains=3)[1]["w"].shape == (3, 2)
    sampler = MCMC(
        kernel, num_samples=20, warmup_steps=10, initial_params=starts, disable_progbar=True
    )
    sampler.run(10, Y)
    assert sampler.get_samples()["w"].shape == (20, 2)
    assert kernel.mass_matrix_adapter.covariance.shape == (4, 4)
    assert "amortppl_weights" not in pyro.get_param_store()


def test_data_are_needed(guide):
    with pytest.raises(DataError, match="'y' is needed"):
        guide.to_pyro()(10)


def test_a_plate_in_the_models_place(guide):
    with (
        pytest.raises(DataError, match="lies where the model has its own plates"),
        pyro.plate("outer", DRAWS, dim=-1),
    ):
        guide.to_pyro()(10, Y)
