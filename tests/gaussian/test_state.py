"""Posteriors on a frame whose flow overflows: finite draws, and NaN that is not passed off as a
draw.
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from amortppl.densities.density import Density
from amortppl.gaussian.frame import Frame
from amortppl.gaussian.funnel import Funnel
from amortppl.gaussian.posterior import FAR, Posterior
from amortppl.task.scaling import PriorScale


class Overflowing(Density):
    """Three draws: sound, infinite and undefined."""

    size: int = 2
    coefficients: int = 0

    def log_prob(self, z, coefficients):
        return jnp.zeros(())

    def sample(self, key, coefficients, draws):
        z = jnp.array([[0.5, -2.0], [jnp.inf, -jnp.inf], [jnp.nan, 1.0]])
        return z, jnp.zeros(3)


def test_draws_of_a_flow_that_overflows_are_finite():
    scale = PriorScale(jnp.zeros(2), jnp.ones(2))
    frame = Frame(jnp.array([1.0, 2.0]), 2.0 * jnp.eye(2))
    draws, _ = Posterior(scale, frame, Overflowing(), jnp.zeros(0), Funnel.none()).sample(
        jr.key(0), 3
    )
    np.testing.assert_allclose(draws[0], [1.25, 1.0])
    np.testing.assert_allclose(draws[1], [FAR / 2 + 1, -FAR / 2 + 2])
    assert np.isnan(draws[2]).any()
