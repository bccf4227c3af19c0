"""Densities of new rows where rows have a joint Gaussian distribution."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.task.joint_gaussian import joint_gaussian


def leave_one_out(
    task: AbstractTask, vector: Float[Array, " P"], data: Mapping[str, Array]
) -> Float[Array, " N"]:
    """log p(y_i | y_-i, theta): with P = K^-1, mean y_i - (P (y - mu))_i / P_ii and variance 1 /
    P_ii.

    Burkner, Gabry and Vehtari 2021, "Efficient leave-one-out cross-validation for Bayesian
    non-factorized normal and Student-t models", arXiv 1810.10559.
    """
    trace = task.trace_at(vector, data)
    return sum(_leave_one_out(trace[site]) for site in task.observed.values())


def _leave_one_out(site: dict) -> Float[Array, " N"]:
    fn = joint_gaussian(site)
    factor = fn.scale_tril, True
    precision = jnp.diag(cho_solve(factor, jnp.eye(len(factor[0]))))
    away = cho_solve(factor, site["value"] - fn.loc)
    return 0.5 * jnp.log(precision) - 0.5 * away**2 / precision - 0.5 * jnp.log(2 * jnp.pi)


class NewRows(NamedTuple):
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


def new_rows(
    task: AbstractTask, vector: Float[Array, " P"], known: Batch, query: Mapping[str, Array]
) -> dict[str, NewRows]:
    """The observations of Q new rows by argument, given theta and the rows that the mask of `known`
    keeps.

    mean = mu* + K*D K_DD^-1 (y - mu),    covariance = K** - K*D K_DD^-1 K_D*
    """
    rows = known.mask.shape[0]
    data = {n: jnp.concatenate([known.data[n], query[n]]) for n in task.inputs}
    new = next(iter(query.values())).shape[0]
    data |= {a: jnp.concatenate([known.data[a], jnp.zeros(new)]) for a in task.observed}
    trace = task.trace_at(vector, data)
    found = {}
    for argument, site in task.observed.items():
        fn, keep = joint_gaussian(trace[site]), known.mask
        covariance = fn.scale_tril @ fn.scale_tril.T
        own = jnp.where(keep[:, None] & keep, covariance[:rows, :rows], jnp.eye(rows))
        across = jnp.where(keep, covariance[rows:, :rows], 0.0)
        factor = jnp.linalg.cholesky(own)
        half = solve_triangular(factor, across.T, lower=True)
        off = jnp.where(keep, known.data[argument] - fn.loc[:rows], 0.0)
        mean = fn.loc[rows:] + half.T @ solve_triangular(factor, off, lower=True)
        found[argument] = NewRows(
            mean, jnp.linalg.cholesky(covariance[rows:, rows:] - half.T @ half)
        )
    return found
