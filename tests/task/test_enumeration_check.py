"""Discrete latents summed out, against the sum over every configuration of the plain model."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.task import funsor_sum


def mixture(y=None):
    centre = numpyro.sample("centre", dist.Normal(jnp.array([-2.0, 0.0, 2.0]), 1).to_event(1))
    with numpyro.plate("row", 4):
        label = numpyro.sample(
            "label", dist.Categorical(jnp.array([0.2, 0.3, 0.5])), infer={"enumerate": "parallel"}
        )
        return numpyro.sample("y", dist.Normal(centre[label], 1.0), obs=y)


def test_a_sum_that_leaves_a_state_out_is_refused(monkeypatch):
    """The engine's sum is spoilt; 81 configurations of the plain model say so."""
    ap.Task(mixture, rows=4)
    right = funsor_sum._factor

    def without_prior(site):
        return right(site) if site["name"] == "y" else right(site) * 0.9

    monkeypatch.setattr(funsor_sum, "_factor", without_prior)
    with pytest.raises(ModelError, match=r"'label' summed out .* 81 configurations"):
        ap.Task(mixture, rows=4)
