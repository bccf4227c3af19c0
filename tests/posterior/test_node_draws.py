"""Draws from the nodes of a quadrature, beside quantiles of dense grids in float64."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from amortppl.posterior.node_draws import draw_between, is_smooth
from amortppl.task.quadrature import FINE, find_modes, heights, product_rule

SMOOTH = {
    "normal": lambda u: -u * u / 2,
    "a Poisson count of 3": lambda u: 3 * u - jnp.exp(u) - u * u / 2,
    "nine successes": lambda u: -9 * jax.nn.softplus(-u) - u * u / 2,
}
ROUGH = {
    "Student-t": lambda u: -2.5 * jnp.log1p(u * u / 4),
    "Laplace prior": lambda u: -jnp.abs(u - 0.5) - u * u / 2,
    "two modes": lambda u: jnp.logaddexp(-((u - 2) ** 2) / 2, -((u + 2) ** 2) / 2),
    "an end": lambda u: jnp.where(u > -0.5, -u * u / 2, -jnp.inf),
}


def at_nodes(density):
    rows = lambda u: density(u[:, 0])  # noqa: E731
    near = find_modes(rows, jnp.full((1, 1), 0.1))
    return near, heights(rows, near, product_rule(1, FINE)[0])


@pytest.mark.parametrize("name", SMOOTH)
def test_each_draw_is_the_quantile_of_its_uniform_number(name):
    near, values = at_nodes(SMOOTH[name])
    assert bool(is_smooth(values)[0])
    keys = jr.split(jr.key(0), 500)
    z = jax.vmap(lambda k: (draw_between(values, k)[0], jr.uniform(k, (1,))[0]))(keys)
    drawn, level = map(np.asarray, z)
    grid = np.linspace(-9, 9, 8001)
    places = np.asarray(jax.vmap(near.at)(jnp.asarray(grid[:, None, None], jnp.float32)))
    density = np.exp(np.asarray(SMOOTH[name](places[:, 0, 0]), np.float64))
    below = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    np.testing.assert_allclose(drawn, np.interp(level, below / below[-1], grid), atol=0.003)


@pytest.mark.parametrize("name", ROUGH)
def test_densities_that_curves_do_not_follow_are_told(name):
    assert not bool(is_smooth(at_nodes(ROUGH[name])[1])[0])
