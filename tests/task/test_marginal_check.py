"""Latents summed and integrated out by the engine, against brute force and a spoilt engine."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density
from scipy.special import logsumexp

import amortppl as ap
from amortppl.errors import ModelError
from amortppl.task import factor_tables, funsor_sum, local_latents


def mixture(y=None):
    centre = numpyro.sample("centre", dist.Normal(jnp.array([-2.0, 0.0, 2.0]), 1).to_event(1))
    with numpyro.plate("row", 4):
        label = numpyro.sample(
            "label", dist.Categorical(jnp.array([0.2, 0.3, 0.5])), infer={"enumerate": "parallel"}
        )
        return numpyro.sample("y", dist.Normal(centre[label], 1.0), obs=y)


def chain(y=None):
    """Five states of a chain, and a label that all observations share."""
    level = numpyro.sample("level", dist.Normal(0, 2))
    where = numpyro.sample("where", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
    state, seen = 0, []
    for t in range(5):
        chance = jnp.array([0.2, 0.7])[state]
        state = numpyro.sample(f"z_{t}", dist.Bernoulli(chance), infer={"enumerate": "parallel"})
        given = None if y is None else y[t]
        seen.append(numpyro.sample(f"y_{t}", dist.Normal(level * state + where, 1.0), obs=given))
    return jnp.stack(seen)


def counts(n, y=None):
    rate = numpyro.sample("rate", dist.Normal(0, 1))
    with numpyro.plate("row", n):
        effect = numpyro.sample("effect", dist.Normal(0, 1))
        numpyro.sample("y", dist.Poisson(jnp.exp(rate + effect)), obs=y)


def test_a_sum_that_leaves_a_state_out_is_refused(monkeypatch):
    """The engine's sum is spoilt; the plain model's tables say so."""
    ap.Task(mixture, rows=4)
    right = funsor_sum._factor

    def without_prior(site):
        return right(site) if site["name"] == "y" else right(site) * 0.9

    monkeypatch.setattr(funsor_sum, "_factor", without_prior)
    with pytest.raises(ModelError, match=r"'label' taken out"):
        ap.Task(mixture, rows=4)


def test_an_integral_that_is_off_is_refused(monkeypatch):
    """A tenth of a nat in every row."""
    right = local_latents.integral
    monkeypatch.setattr(local_latents, "integral", lambda *args: right(*args) + 0.1)
    with pytest.raises(ModelError, match=r"'effect' taken out"):
        ap.Task(counts)


def test_the_judge_sums_a_chain_as_brute_force_does():
    """All 64 configurations, one by one, by NumPyro in 32 bits."""
    task, y = ap.Task(chain, rows=None), np.array([0.3, -1.0, 2.0, 2.5, 0.1], np.float32)
    judged = task.judge.log_densities(np.array([[0.7]]), {"y": y[None, None]})
    every = jnp.array(list(product(range(2), repeat=6)))
    names = ["where", *(f"z_{t}" for t in range(5))]

    def one(z):
        values = dict(zip(names, z, strict=True)) | {"level": 0.7}
        return log_density(chain, (), {"y": jnp.asarray(y)}, values)[0]

    truth = logsumexp(np.asarray(jax.jit(jax.vmap(one))(every), float))
    assert float(judged.prior[0] + judged.rows.sum()) == pytest.approx(truth, abs=1e-4)


def test_what_cannot_be_summed_has_a_reason(monkeypatch):
    """A judge who may make one run alone has no tables, and says so."""
    monkeypatch.setattr(factor_tables, "RUNS", 1)
    assert "'label'" in ap.Task(mixture, rows=4).judge.reason


def test_an_integrand_with_an_edge_is_named():
    """exp(-u^2 / 2) on (y - 1, y + 1) alone: the mode of most rows is at the edge, or cut off."""

    def edge(n, y=None):
        scale = numpyro.sample("scale", dist.HalfNormal(1))
        with numpyro.plate("row", n):
            effect = numpyro.sample("effect", dist.Normal(0, 1))
            numpyro.sample("y", dist.Uniform(effect - scale, effect + scale), obs=y)

    with pytest.raises(ModelError, match=r"over 'effect' .* an edge or a kink"):
        ap.Task(edge)
