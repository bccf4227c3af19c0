"""Sites whose names have slashes, as NumPyro's `scope` gives them."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.handlers import scope

import amortppl as ap
from amortppl.errors import DataError
from amortppl.guide.tree_layout import assemble


def test_a_slash_becomes_a_point():
    def model(rows, y=None):
        with scope(prefix="deep"):
            mean = numpyro.sample("mean", dist.Normal(0, 1).expand([2]).to_event(1))
        with numpyro.plate("row", rows):
            numpyro.sample("y", dist.Normal(mean.sum(), 1), obs=y)

    guide = ap.train(ap.Task(model, rows=(2, 8)), "laplace", progress=False)
    post = guide.infer({"y": np.zeros(4)}, draws=50)
    assert post["posterior"]["deep.mean"].dims == ("chain", "draw", "deep.mean_dim_0")


def test_names_that_would_be_one_are_refused():
    values = ([], np.zeros(()))
    with pytest.raises(DataError, match=r"sites: two of 'a/b', 'a\.b' differ in"):
        assemble(
            {"posterior": {"a/b": values, "a.b": values}},
            {},
            dict.fromkeys(("inference_library", "inference_library_version", "created_at"), ""),
        )
