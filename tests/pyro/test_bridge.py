"""A bridged model is a plain NumPyro model and leaves nothing behind."""

import threading

import pytest

pytest.importorskip("torch", reason="the extra `pyro` is not installed")

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.handlers as handlers
import pyro.distributions as dist
import torch
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, autoguide
from numpyro.infer.util import log_density

import amortppl as ap
import pyro
from pyro import poutine

Y = np.linspace(-1.0, 2.0, 20, dtype=np.float32)


def model(y=None, n=20):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("n", n):
        return pyro.sample("y", dist.Normal(mu, 1.0), obs=y)


BRIDGED = ap.from_pyro(model)
MEAN, SD = Y.sum() / 21, 21**-0.5


def test_nuts_finds_the_conjugate_posterior():
    """500 nearly independent draws: the mean is within 5 of its standard errors."""
    sampler = MCMC(NUTS(BRIDGED), num_warmup=200, num_samples=500, progress_bar=False)
    sampler.run(jr.key(0), Y)
    assert abs(float(sampler.get_samples()["mu"].mean()) - MEAN) < 5 * SD / 200**0.5


def test_svi_finds_the_conjugate_posterior():
    guide = autoguide.AutoNormal(BRIDGED)
    result = SVI(BRIDGED, guide, numpyro.optim.Adam(0.05), Trace_ELBO(10)).run(
        jr.key(0), 400, Y, progress_bar=False
    )
    assert abs(float(result.params["mu_auto_loc"]) - MEAN) < 0.1
    assert abs(float(result.params["mu_auto_scale"]) - SD) < 0.05


def test_predictive():
    drawn = Predictive(BRIDGED, num_samples=7)(jr.key(0))
    assert drawn["y"].shape == (7, 20)
    assert len(np.unique(drawn["mu"])) == 7


def test_jit_and_vmap():
    def joint(mu):
        return log_density(BRIDGED, (Y,), {}, {"mu": mu})[0]

    at = jnp.array([-1.0, 0.3])
    np.testing.assert_allclose(jax.jit(jax.vmap(joint))(at), [joint(v) for v in at], rtol=1e-6)


def test_returns_jax_arrays():
    assert isinstance(handlers.seed(BRIDGED, 0)(), jax.Array)


def joint_of_a_thread(joints, errors):
    try:
        for at in (0.1, 0.2, 0.3):
            joints.append(
                (at, float(jax.jit(lambda mu: log_density(BRIDGED, (Y,), {}, {"mu": mu})[0])(at)))
            )
    except Exception as error:
        errors.append(error)


def test_threads():
    joints, errors = [], []
    threads = [threading.Thread(target=joint_of_a_thread, args=(joints, errors)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(joints) == 12
    assert len(set(joints)) == 3


def state():
    """What Pyro, torch and NumPyro keep for the process."""
    runtime = poutine.runtime
    return (
        list(runtime._PYRO_STACK),
        list(runtime._DIM_ALLOCATOR._stack),
        runtime.default_process_message,
        torch.distributions.Distribution._validate_args,
        pyro.infer.util.is_validation_enabled(),
        dist.is_validation_enabled(),
        torch.is_grad_enabled(),
        torch._C._len_torch_function_stack(),
        torch._C._len_torch_dispatch_stack(),
        torch.get_rng_state().tolist(),
        sorted(pyro.get_param_store()),
        list(numpyro.primitives._PYRO_STACK),
    )


def broken():
    pyro.param("a", torch.zeros(2))
    with pyro.plate("n", 3):
        pyro.sample("x", dist.Normal(torch.randn(3), 1.0))
        raise KeyError("the model's own error")


def test_nothing_is_left_behind():
    before = state()
    handlers.seed(BRIDGED, 0)()
    assert state() == before


def test_nothing_is_left_behind_by_an_error():
    before = state()
    with pytest.raises(KeyError, match="the model's own error"):
        handlers.seed(ap.from_pyro(broken), 0)()
    assert state() == before


def test_runs_inside_pyros_own_handlers():
    """The outer trace sees nothing of the bridged model."""
    with poutine.trace() as outer, pyro.plate("n", 5), torch.no_grad():
        slope = jax.grad(lambda mu: log_density(BRIDGED, (Y,), {}, {"mu": mu})[0])(0.0)
    assert "mu" not in outer.trace.nodes
    np.testing.assert_allclose(slope, Y.sum(), rtol=1e-5)


def chain():
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    return pyro.sample("z", dist.Normal(x, 1.0))


def sites(model):
    return handlers.trace(handlers.seed(ap.from_pyro(model), 0)).get_trace()


def test_condition_do_and_block():
    assert sites(poutine.condition(chain, {"x": torch.tensor(2.0)}))["x"]["is_observed"]
    assert not sites(poutine.do(chain, {"x": torch.tensor(3.0)}))["x"]["is_observed"]
    assert list(sites(poutine.block(chain, hide=["x"]))) == ["z"]


def random_outside():
    return torch.randn(3), torch.rand(2), torch.empty(2).exponential_(2.0), torch.randperm(4)


def test_randomness_outside_sites_follows_the_key():
    first, again, other = (handlers.seed(ap.from_pyro(random_outside), key)() for key in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c) or len(a) == 4


def parameters(x, y=None):
    w = pyro.param("w", torch.zeros(2))
    s = pyro.param("s", torch.tensor(1.0), constraint=dist.constraints.positive)
    with pyro.plate("n", len(x)):
        pyro.sample("y", dist.Normal(x @ w, s), obs=y)


def test_parameters_are_fitted_by_svi():
    x = np.asarray(jr.normal(jr.key(0), (50, 2)))
    svi = SVI(ap.from_pyro(parameters), lambda *a: None, numpyro.optim.Adam(0.05), Trace_ELBO())
    fitted = svi.run(
        jr.key(0), 500, x, x @ np.array([1.0, -2.0], np.float32), progress_bar=False
    ).params
    np.testing.assert_allclose(fitted["w"], [1.0, -2.0], atol=0.05)


def no_gradient(y=None):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    with torch.no_grad():
        stopped = a * 2
    pyro.sample("y", dist.Normal(stopped, 1.0), obs=y)


def test_no_grad_stops_gradients():
    slope = jax.grad(
        lambda a: log_density(ap.from_pyro(no_gradient), (jnp.float32(5.0),), {}, {"a": a})[0]
    )(0.5)
    np.testing.assert_allclose(slope, -0.5, rtol=1e-6)


def test_signature_and_name():
    assert BRIDGED.__name__ == "model"
    assert list(BRIDGED.__signature__.parameters) == ["y", "n"]
    assert ap.from_pyro(BRIDGED).pyro is model
