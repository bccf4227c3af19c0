"""Densities of rows given other rows, where all have a joint Gaussian distribution."""

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
    """Log density of each row given all the others, log p(y_i | y_-i, theta).

    With P = K^-1 its mean is y_i - (P (y - mu))_i / P_ii and its variance 1 / P_ii.

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
    """New rows given those seen, for one observation: y* ~ N(mean, factor factor')."""

    mean: Float[Array, " Q"]
    factor: Float[Array, "Q Q"]

    def log_prob(self, values: Float[Array, " Q"]) -> Float[Array, " Q"]:
        """Log density of each new row by itself."""
        variance = jnp.sum(self.factor**2, -1)
        return -0.5 * (values - self.mean) ** 2 / variance - 0.5 * jnp.log(2 * jnp.pi * variance)

    def sample(self, key: PRNGKeyArray) -> Float[Array, " Q"]:
        """A draw of all new rows together."""
        return self.mean + self.factor @ jr.normal(key, self.mean.shape)


def new_rows(
    task: AbstractTask, vector: Float[Array, " P"], seen: Batch, query: Mapping[str, Array]
) -> dict[str, NewRows]:
    """The observations of Q new rows by argument, given theta and the rows seen.

        mean = mu* + K*D K_DD^-1 (y - mu),    covariance = K** - K*D K_DD^-1 K_D*

    Args:
        task: a task with tied rows.
        vector: theta, unconstrained.
        seen: rows D; those that its mask leaves out do not count.
        query: inputs of the new rows, by argument.
    """
    rows = seen.mask.shape[0]
    data = {n: jnp.concatenate([seen.data[n], query[n]]) for n in task.inputs}
    new = next(iter(query.values())).shape[0]
    data |= {a: jnp.concatenate([seen.data[a], jnp.zeros(new)]) for a in task.observed}
    trace = task.trace_at(vector, data)
    conditionals = {}
    for argument, site in task.observed.items():
        fn, keep = joint_gaussian(trace[site]), seen.mask
        covariance = fn.scale_tril @ fn.scale_tril.T
        own = jnp.where(keep[:, None] & keep, covariance[:rows, :rows], jnp.eye(rows))
        across = jnp.where(keep, covariance[rows:, :rows], 0.0)
        factor = jnp.linalg.cholesky(own)
        half = solve_triangular(factor, across.T, lower=True)
        off = jnp.where(keep, seen.data[argument] - fn.loc[:rows], 0.0)
        mean = fn.loc[rows:] + half.T @ solve_triangular(factor, off, lower=True)
        remaining = covariance[rows:, rows:] - half.T @ half
        conditionals[argument] = NewRows(mean, jnp.linalg.cholesky(remaining))
    return conditionals
