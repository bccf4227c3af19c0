"""Rows tied to one another: observations that are jointly Gaussian over all rows, as under a Gaussian process.

    y ~ N(mu, K),    mu (N,) and K = L L' (N, N) functions of all inputs and of theta

The chain rule gives every row a density of its own, with z = L^-1 (y - mu):

    log p(y_i | y_1..i-1, theta) = -z_i^2 / 2 - log L_ii - log(2 pi) / 2

so that rows left out at the end leave those before them as they are, and padding is masked as elsewhere.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import ExpandedDistribution, Independent, MaskedDistribution, MultivariateNormal

from amortppl.errors import GuideError, ModelError
from amortppl.tracing import Site

if TYPE_CHECKING:
    from amortppl.method import Method
    from amortppl.task import Batch, Task

FAMILY = "MultivariateNormal"


def is_tied(site: Site, rows: int) -> bool:
    """Whether a site is one Gaussian vector over the rows."""
    return site.distribution == FAMILY and site.shape == (rows,) and site.density_shape == ()


def chained(site: dict) -> Float[Array, " N"]:
    """log p(y_i | y_1..i-1) of a traced site.

    Raises:
        ModelError: the site is masked.
    """
    fn = _gaussian(site)
    factor = fn.scale_tril
    z = solve_triangular(factor, site["value"] - fn.loc, lower=True)
    return -0.5 * z**2 - jnp.log(jnp.diag(factor)) - 0.5 * jnp.log(2 * jnp.pi)


def _gaussian(site: dict) -> MultivariateNormal:
    """The distribution of a traced site, without what only changes its shape."""
    fn = site["fn"]
    while isinstance(fn, ExpandedDistribution | Independent):
        fn = fn.base_dist
    if isinstance(fn, MaskedDistribution):
        raise ModelError(
            f"the rows of {site['name']!r} are tied to one another by a Gaussian over all of them, so a mask cannot "
            "take rows out of it; take the mask away, and leave rows that are not to count out of the data"
        )
    return fn


def left_out(task: "Task", vector: Float[Array, " P"], data: Mapping[str, Array]) -> Float[Array, " N"]:
    """log p(y_i | y_-i, theta): with P = K^-1, mean y_i - (P (y - mu))_i / P_ii and variance 1 / P_ii.

    Burkner, Gabry and Vehtari 2021, "Efficient leave-one-out cross-validation for Bayesian
    non-factorized normal and Student-t models", arXiv 1810.10559.
    """
    trace = task.placed(vector, data)
    return sum(_left_out(trace[site]) for site in task.observed.values())


def _left_out(site: dict) -> Float[Array, " N"]:
    fn = _gaussian(site)
    factor = fn.scale_tril, True
    precision = jnp.diag(cho_solve(factor, jnp.eye(len(factor[0]))))
    away = cho_solve(factor, site["value"] - fn.loc)
    return 0.5 * jnp.log(precision) - 0.5 * away**2 / precision - 0.5 * jnp.log(2 * jnp.pi)


def refuse_parts(method: "Method") -> None:
    """Refuses to add up a posterior from parts of tied rows.

    Raises:
        GuideError: the method infers latents, and the rows of its task are tied.
    """
    if method.task.tied and not method.predicts:
        raise GuideError(
            f"{method.task.name}: its rows are tied to one another, so the evidence of mini-batches does not add up; "
            "infer all rows at once (and train with mini_batches=1), or train 'in_context' or 'neural_process' to "
            "predict from mini-batches"
        )


class Ahead(NamedTuple):
    """New rows given those known, for one observation: y* ~ N(mean, factor factor')."""

    mean: Float[Array, " Q"]
    factor: Float[Array, "Q Q"]

    def log_prob(self, values: Float[Array, " Q"]) -> Float[Array, " Q"]:
        """Log density of each new row by itself."""
        variance = jnp.sum(self.factor**2, -1)
        return -0.5 * (values - self.mean) ** 2 / variance - 0.5 * jnp.log(2 * jnp.pi * variance)

    def sample(self, key: PRNGKeyArray) -> Float[Array, " Q"]:
        """All new rows together."""
        return self.mean + self.factor @ jr.normal(key, self.mean.shape)


def ahead(task: "Task", vector: Float[Array, " P"], known: "Batch", query: Mapping[str, Array]) -> dict[str, Ahead]:
    """The observations of Q new rows by argument, given theta and the rows that the mask of `known` keeps.

    mean = mu* + K*D K_DD^-1 (y - mu),    covariance = K** - K*D K_DD^-1 K_D*
    """
    rows = known.mask.shape[0]
    data = {n: jnp.concatenate([known.data[n], query[n]]) for n in task.inputs}
    new = next(iter(query.values())).shape[0]
    data |= {a: jnp.concatenate([known.data[a], jnp.zeros(new)]) for a in task.observed}
    trace = task.placed(vector, data)
    found = {}
    for argument, site in task.observed.items():
        fn, keep = _gaussian(trace[site]), known.mask
        covariance = fn.scale_tril @ fn.scale_tril.T
        own = jnp.where(keep[:, None] & keep, covariance[:rows, :rows], jnp.eye(rows))
        across = jnp.where(keep, covariance[rows:, :rows], 0.0)
        factor = jnp.linalg.cholesky(own)
        half = solve_triangular(factor, across.T, lower=True)
        off = jnp.where(keep, known.data[argument] - fn.loc[:rows], 0.0)
        mean = fn.loc[rows:] + half.T @ solve_triangular(factor, off, lower=True)
        found[argument] = Ahead(mean, jnp.linalg.cholesky(covariance[rows:, rows:] - half.T @ half))
    return found
