"""log Gamma in elementary functions against SciPy's, and where it is put in place."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import special

from amortppl.runtime.jaxpr_rewriting import rewrite
from amortppl.runtime.log_gamma import (
    ELEMENTARY,
    differentiates_log_gamma,
    digamma,
    log_gamma,
    trigamma,
)

POINTS = np.concatenate([np.geomspace(1e-6, 1e8, 300), -np.linspace(0.1, 6.3, 7)])


@pytest.mark.parametrize("order", range(4))
def test_it_and_its_derivatives_are_scipys(order):
    """Float32 rounds at 6e-8; a few roundings of numbers up to 20 times the answer are allowed."""
    points = POINTS if order == 0 else POINTS[POINTS > 1e-3]
    points = points[points > 0] if order else points
    f = log_gamma
    for _ in range(order):
        f = jax.grad(f)
    truth = special.gammaln(points) if order == 0 else special.polygamma(order - 1, points)
    values = jax.vmap(f)(jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(values, truth, rtol=2e-5, atol=2e-5)


def test_beyond_its_range_it_says_nothing():
    assert np.isnan([f(jnp.float32(-9.5)) for f in (log_gamma, digamma, trigamma)]).all()
    assert np.isposinf(log_gamma(jnp.float32(0.0)))


def test_it_takes_the_place_of_lgamma_and_of_nothing_else():
    y = jnp.arange(5)

    def f(mean, size):
        return {"log_prob": dist.NegativeBinomial2(mean, size).log_prob(y), "mean": mean}

    g = rewrite(f, ELEMENTARY)
    assert "lgamma" in str(jax.make_jaxpr(f)(3.0, 2.0)) and "lgamma" not in str(
        jax.make_jaxpr(g)(3.0, 2.0)
    )
    bends = [
        jax.jit(jax.hessian(lambda p, mean, h=h: h(mean, p)["log_prob"].sum())) for h in (g, f)
    ]
    for mean in (0.1, 40.0):
        np.testing.assert_allclose(
            g(mean, 2.0)["log_prob"], f(mean, 2.0)["log_prob"], rtol=1e-5, atol=1e-5
        )
        bend, exact = (b(2.0, mean) for b in bends)
        np.testing.assert_allclose(bend, exact, rtol=1e-4)
    inside = jax.jit(
        jax.vmap(lambda m: rewrite(lambda p: f(m, p)["log_prob"].sum(), ELEMENTARY)(2.0))
    )(jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(inside[1], f(3.0, 2.0)["log_prob"].sum(), rtol=1e-5)


def test_counts_without_a_latent_in_lgamma_are_left_alone():
    y = jnp.arange(5)
    assert differentiates_log_gamma(
        lambda size: dist.NegativeBinomial2(2.0, size).log_prob(y).sum(), 2.0
    )
    assert not differentiates_log_gamma(lambda rate: dist.Poisson(rate).log_prob(y).sum(), 2.0)


def test_float64_keeps_jaxs():
    with jax.enable_x64(True):
        text = str(jax.make_jaxpr(rewrite(jax.scipy.special.gammaln, ELEMENTARY))(jnp.float64(2.0)))
    assert "lgamma" in text
