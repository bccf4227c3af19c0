"""Rows whose own latents are Gaussian are found by the degree of their log density."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.stats import norm

import amortppl as ap
from amortppl.runtime.numpy_evaluation import evaluate
from amortppl.task.degree import degrees


@pytest.mark.parametrize(
    ("function", "degree"),
    [
        (lambda u, y: jnp.sum(u) + y, 1),
        (lambda u, y: dist.Normal(2 * u, jnp.exp(y)).log_prob(y).sum(), 2),
        (lambda u, y: jnp.where(y > 3, norm.logcdf(u), -u * u).sum(), np.inf),
        (lambda u, y: jnp.abs(u).sum(), np.inf),
        (lambda u, y: jnp.where(u > 0, 1.0, 2.0).sum(), np.inf),
        (lambda u, y: (u / y) @ (y * u), 2),
        (lambda u, y: (u @ u) * u[0], 3),
        (lambda u, y: jnp.sum(y / u), np.inf),
        (lambda u, y: jnp.exp(y), 0),
        (lambda u, y: jax.jit(lambda v: v[::-1] ** 2)(u)[jnp.int32(y)], 2),
        (lambda u, y: dist.MultivariateNormal(u, jnp.eye(2) * jnp.exp(y)).log_prob(jnp.ones(2)), 2),
        (lambda u, y: dist.StudentT(5.0, u, 1.0).log_prob(y).sum(), np.inf),
    ],
)
def test_degrees_of_polynomials(function, degree):
    """A branch for rare data counts, and so does what is not seen to be a polynomial."""
    assert degrees(function, jnp.ones(2), jnp.float32(1.0)) == degree


def test_few_nodes_give_value_and_derivatives_of_a_normal_row():
    """Up to the third derivative."""

    def model(rows, y=None):
        level = numpyro.sample("level", dist.Normal(0, 1))
        spread = numpyro.sample("spread", dist.LogNormal(0, 1))
        with numpyro.plate("row", rows):
            effect = numpyro.sample("effect", dist.Normal(0, spread))
            numpyro.sample("y", dist.Normal(level + effect, 0.5), obs=y)

    task = ap.Task(model, rows=(2, 4))
    assert task.local.normal and task.local.nodes == 4
    y = jnp.array([0.3, -4.0])
    rows = lambda v: jnp.sum(task.log_densities(v, {"y": y})[1])  # noqa: E731
    exact = lambda v: norm.logpdf(y, v[0], jnp.sqrt(0.25 + jnp.exp(2 * v[1]))).sum()  # noqa: E731

    def third(f):
        """Value and derivatives along one line."""
        line = lambda t: f(jnp.array([0.2, -0.4]) + t * jnp.array([1.0, 0.7]))  # noqa: E731
        first = jax.grad(line)
        second = jax.grad(first)
        return jnp.stack([g(0.0) for g in (line, first, second, jax.grad(second))])

    values = evaluate(lambda: (third(rows), third(exact)))
    np.testing.assert_allclose(*values, rtol=1e-4)


def test_rows_that_are_not_normal_keep_their_nodes():
    def model(rows, y=None):
        rate = numpyro.sample("rate", dist.Normal(0, 1))
        with numpyro.plate("row", rows):
            effect = numpyro.sample("effect", dist.Normal(0, 1))
            numpyro.sample("y", dist.Poisson(jnp.exp(rate + effect)), obs=y)

    task = ap.Task(model, rows=(2, 4))
    assert not task.local.normal and task.local.nodes == 15
