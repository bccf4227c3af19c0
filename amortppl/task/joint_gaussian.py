"""Rows tied to one another: observations that are jointly Gaussian over all rows, as under a
Gaussian process.

    y ~ N(mu, K),    mu (N,) and K = L L' (N, N) functions of all inputs and of theta

The chain rule gives every row a density of its own, with z = L^-1 (y - mu):

    log p(y_i | y_1..i-1, theta) = -z_i^2 / 2 - log L_ii - log(2 pi) / 2

so that rows left out at the end leave those before them as they are, and padding is masked as
elsewhere.
"""

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float
from numpyro.distributions import (
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
    MultivariateNormal,
)

from amortppl.errors import ModelError
from amortppl.task.tracing import Site

if TYPE_CHECKING:
    pass

FAMILY = "MultivariateNormal"


def is_joint_gaussian(site: Site, rows: int) -> bool:
    """Whether a site is one Gaussian vector over the rows."""
    return site.distribution == FAMILY and site.shape == (rows,) and site.density_shape == ()


def chain_rule_density(site: dict) -> Float[Array, " N"]:
    """log p(y_i | y_1..i-1) of a traced site.

    Raises:
        ModelError: the site is masked.
    """
    fn = joint_gaussian(site)
    factor = fn.scale_tril
    z = solve_triangular(factor, site["value"] - fn.loc, lower=True)
    return -0.5 * z**2 - jnp.log(jnp.diag(factor)) - 0.5 * jnp.log(2 * jnp.pi)


def joint_gaussian(site: dict) -> MultivariateNormal:
    """The distribution of a traced site, without what only changes its shape."""
    fn = site["fn"]
    while isinstance(fn, ExpandedDistribution | Independent):
        fn = fn.base_dist
    if isinstance(fn, MaskedDistribution):
        raise ModelError(
            f"the rows of {site['name']!r} are tied to one another by a Gaussian over all of them, "
            f"so a mask cannot "
            "take rows out of it; take the mask away, and leave rows that are not to count out of "
            "the data"
        )
    return fn
