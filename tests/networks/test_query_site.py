"""The closed-form site of a query against Bayesian linear regression."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from amortppl.networks.query_site import SiteReader
from conjugate import line_posterior


def unit_prior():
    """A reader of two numbers whose ridge is one."""
    return eqx.tree_at(lambda r: r.log_ridge, SiteReader(2, 2, 2, 4, jr.key(0)), jnp.zeros(2))


def test_a_site_is_the_conjugate_posterior_at_the_query():
    """weights ~ N(0, I), unit noise: mean and variance at three queries; the rows left out by the
    mask say nothing.
    """
    x, at, y = (
        jr.normal(jr.key(1), (9, 2)),
        jr.normal(jr.key(2), (3, 2)),
        jr.normal(jr.key(3), (9, 1)),
    )
    site = unit_prior()(x, y, jnp.arange(9) < 7, at)
    mean, covariance = line_posterior(np.asarray(x[:7]), np.asarray(y[:7, 0]))
    np.testing.assert_allclose(site.fit[:, 0], at @ mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(site.after, np.sum((at @ covariance) * at, 1), rtol=1e-4)
    np.testing.assert_allclose(site.before / (1 + site.gain), site.after, rtol=1e-4)
    np.testing.assert_allclose(
        site.gain / (1 + site.gain) * site.estimate[:, 0], at @ mean, rtol=1e-3, atol=1e-4
    )


def test_rows_that_are_not_there_say_nothing():
    x, at = jr.normal(jr.key(1), (5, 2)), jr.normal(jr.key(2), (3, 2))
    site = unit_prior()(x, jnp.ones((5, 1)), jnp.zeros(5, bool), at)
    assert (site.gain < 2e-3).all() and (abs(site.fit) < 1e-5).all()
