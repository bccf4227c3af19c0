"""A handler around a model, called on it or used as its decorator; a plate named like the data."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam

import amortppl as ap
from amortppl.task.enumeration import Marginal


def model(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(w * x, 1), obs=y)


CONFIG = {"w": LocScaleReparam(0)}


@pytest.mark.parametrize(
    ("wrapped", "latents"),
    [
        (handlers.reparam(model, config=CONFIG), ["w_decentered"]),
        (handlers.reparam(config=CONFIG)(model), ["w_decentered"]),
        (handlers.scope(prefix="a")(handlers.reparam(config=CONFIG)(model)), ["a/w_decentered"]),
    ],
    ids=["called", "decorator", "two decorators"],
)
def test_a_handler_has_the_arguments_of_its_model(wrapped, latents):
    task = ap.Task(wrapped, {"x": dist.Normal(0, 1)}, rows=(8, 32))
    assert list(task.latents.names) == latents and task.name == "model"
    assert task.arguments == ["x", "y"]


@pytest.mark.parametrize("plate", ["row", "data"])
def test_a_plate_may_have_the_name_of_the_data(plate):
    def mixture(n, data=None):
        w = numpyro.sample("w", dist.Dirichlet(np.ones(2)))
        with numpyro.plate(plate, n):
            z = numpyro.sample("z", dist.Categorical(w), infer={"enumerate": "parallel"})
            return numpyro.sample("obs", dist.Normal(3.0 * z, 1.0), obs=data)

    marginal = Marginal(mixture, "data")
    trace = handlers.trace(handlers.seed(marginal, 0)).get_trace(n=4)
    observed = [n for n, s in trace.items() if s["type"] == "sample" and n != "w"]
    assert observed == ["data_observed" if plate == "data" else "data"]
    assert trace[observed[0]]["value"].shape == (4,)
