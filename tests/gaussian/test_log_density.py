"""Fisher information of rows by simulation, against its closed form."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.gaussian.log_density import Densities
from amortppl.task.batch import Batch
from amortppl.task.scaling import PriorScale


def line(x, y=None):
    w = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ w, 0.5), obs=y)


INPUTS = {"x": dist.Normal(0, 1).expand([2])}


@pytest.mark.parametrize("rows", [(4, 32), 32, None], ids=["range", "fixed", "block"])
def test_information_by_simulation_is_that_of_the_rows_kept(rows):
    """Mean of 1000 estimates. Each has eight copies of a row or more, so even a row with all the
    leverage is known to
    sqrt(2 / 8), and their mean to 1.6%; tolerance four times that."""
    inputs = {"x": dist.Normal(0, 1).expand([32, 2])} if rows is None else INPUTS
    task = ap.Task(line, inputs, rows=rows)
    data = task.simulate(jr.key(0), 1 if rows is None else 32).data
    mask = jnp.ones(1, bool) if rows is None else (jnp.arange(32) >= 5) & (jnp.arange(32) < 17)
    densities = Densities(task, PriorScale(jnp.zeros(2), jnp.ones(2)), False)
    information = jax.jit(
        lambda key: densities.information(Batch(data, mask), key)(jnp.array([3.0, -3.0]))
    )
    estimate = np.asarray(jax.vmap(information)(jr.split(jr.key(1), 1000)), np.float64).mean(0)
    x = np.asarray(data["x"][0] if rows is None else data["x"][mask], np.float64)
    inverse = np.linalg.inv(np.linalg.cholesky(x.T @ x / 0.25))
    np.testing.assert_allclose(inverse @ estimate @ inverse.T, np.eye(2), atol=0.065)


def test_no_rows_have_no_information():
    task = ap.Task(line, INPUTS, rows=(4, 32))
    batch = Batch(task.simulate(jr.key(0), 32).data, jnp.zeros(32, bool))
    densities = Densities(task, PriorScale(jnp.zeros(2), jnp.ones(2)), False)
    np.testing.assert_array_equal(densities.information(batch, jr.key(1))(jnp.ones(2)), 0.0)
