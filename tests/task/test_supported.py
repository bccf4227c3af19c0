"""Which observations a model can have made."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.data.dataset import read
from amortppl.errors import DataError, ModelError


def bounded(n, y=None, k=None):
    top = numpyro.sample("top", dist.Gamma(2, 0.1))
    with numpyro.plate("row", n):
        numpyro.sample("y", dist.Uniform(0, top), obs=y)
        numpyro.sample("k", dist.Poisson(top), obs=k)


def test_a_bound_that_is_a_latent_refuses_nothing():
    """y = 8 is possible with a top of 9; counts are still looked at."""
    task = ap.Task(bounded, rows=(2, 16))
    y = np.array([0.5, 8.0, 3.0])
    np.testing.assert_allclose(read(task, {"y": y, "k": [1, 2, 3]}).arrays["y"], y)
    with pytest.raises(DataError, match="'k' holds -1 at row 1"):
        read(task, {"y": y, "k": [1, -1, 3]})


def test_a_prior_that_cannot_be_sampled_is_named():
    def flat(x, y=None):
        w = numpyro.sample("w", dist.ImproperUniform(dist.constraints.real, (), ()))
        with numpyro.plate("row", x.shape[0]):
            numpyro.sample("y", dist.Normal(w * x, 1), obs=y)

    with pytest.raises(ModelError, match="'w' ~ ImproperUniform cannot be simulated"):
        ap.Task(flat, {"x": dist.Normal(0, 1)})
