"""Bad input: the site or operation, the line of the model, and what to write instead."""

import pytest

pytest.importorskip("torch", reason="the extra `pyro` is not installed")

import jax
import numpy as np
import numpyro.handlers as handlers
import pyro.distributions as dist
import torch

import amortppl as ap
import pyro
from amortppl.errors import ModelError

OUTSIDE = torch.zeros(3)
PLANAR = dist.transforms.Planar(2)


def item():
    s = pyro.sample("s", dist.Gamma(2.0, 1.0))
    return torch.ones(int(s.item()) + 1)


def branch():
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    return a if b > 0 else -a


def to_numpy():
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    return np.sin(a.detach().numpy())


def mask():
    a = pyro.sample("a", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    return a[a > 0]


def while_loop():
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    while a < 1:
        a = a + 1
    return a


def not_a_distribution():
    pyro.sample("x", dist.Normal)


def a_number():
    pyro.sample("x", torch.tensor(3.0))


def unknown_distribution():
    pyro.sample("x", dist.Stable(1.5, 0.0))


def unknown_transform():
    pyro.sample(
        "x", dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0).to_event(1), [PLANAR])
    )


def unknown_operation():
    a = pyro.sample("a", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    return torch.ops.aten._foreach_exp([a])


def writes_outside():
    OUTSIDE[0] = pyro.sample("a", dist.Normal(0.0, 1.0))


def shapes():
    a = pyro.sample("a", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    return a @ torch.ones(4)


def double():
    a = pyro.sample("a", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1))
    return a


CASES = {
    item: ["'s'", "int(s.item())", "torch.where"],
    branch: ["'b'", "a if b > 0", "torch.where"],
    to_numpy: ["'a'", "a.detach().numpy()", ".numpy()"],
    mask: ["'a'", "a[a > 0]"],
    while_loop: ["'a'", "while a < 1"],
    not_a_distribution: ["'x'", "the class Normal without arguments", 'pyro.sample("x"'],
    a_number: ["'x'", "expected a distribution", "Tensor"],
    unknown_distribution: ["'x'", "Stable", "amortppl.pyro.accept"],
    unknown_transform: ["'x'", "Planar", "has no counterpart"],
    unknown_operation: ["_foreach_exp", "no JAX counterpart"],
    writes_outside: ["outside", "OUTSIDE[0] = "],
    shapes: ["dot", "a @ torch.ones(4)"],
    double: ["float64", "jax_enable_x64", "torch.float32"],
}


@pytest.mark.parametrize("model", CASES, ids=lambda m: m.__name__)
def test_one_clear_error(model):
    with pytest.raises(ModelError) as caught:
        jax.eval_shape(lambda key: handlers.seed(ap.from_pyro(model), key)(), jax.random.key(0))
    told = str(caught.value)
    assert __file__ in told
    assert [part for part in CASES[model] if part not in told] == [], told


def test_double_precision_where_it_is_on():
    with jax.enable_x64(True):
        assert handlers.seed(ap.from_pyro(double), 0)().dtype == np.float64


def test_double_arguments():
    with pytest.raises(ModelError, match="float64"):
        ap.from_pyro(lambda x: pyro.sample("x", dist.Normal(x, 1.0)))(
            torch.zeros(2, dtype=torch.float64)
        )


def test_large_whole_numbers():
    with pytest.raises(ModelError, match=r"beyond 32 bits"):
        ap.from_pyro(lambda x: x + 1)(torch.tensor([2**40]))


def test_randomness_without_a_key():
    with pytest.raises(ModelError, match="there is no key"):
        ap.from_pyro(lambda: torch.randn(3))()


def test_a_generator():
    with pytest.raises(ModelError, match=r"torch\.Generator"):
        handlers.seed(ap.from_pyro(lambda: torch.randn(3, generator=torch.Generator())), 0)()


def test_what_is_no_model():
    with pytest.raises(ModelError, match="make an instance"):
        ap.from_pyro(pyro.nn.PyroModule)
    with pytest.raises(ModelError, match="expected a Pyro model"):
        ap.from_pyro(3)


def test_a_parameter_without_a_value():
    with pytest.raises(ModelError, match=r"pyro\.param\('nowhere'\)"):
        ap.from_pyro(lambda: pyro.param("nowhere"))()


def test_the_models_own_error_is_left_alone():
    def broken():
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        ap.from_pyro(broken)()
