"""The frame of a posterior that is learned from data alone: linear regression of the latents.

    E(theta | D) = b + A c(D),    cov(theta | D) = residual covariance,

with c the columns of D, by least squares over simulations, in closed form. It is the posterior
itself where latents and data are jointly Gaussian, and the best linear estimate elsewhere
(Hartigan 1969, "Linear Bayesian methods"), so that a flow in it has only the rest to learn.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.gaussian.frame import Frame, lower_factor
from amortppl.networks.least_squares import Moments, solve
from amortppl.task.abstract import AbstractTask
from amortppl.task.scaling import PriorScale, RowScaler

MOST = 100
"""Most columns that are regressed on."""

STORED, SIMULATED = 16_384, 4096
"""Simulations that the regression is fitted to, of those that are there or drawn anew."""

FAR = 10.0
"""Scaled columns are taken for regression up to here."""

NARROW = 1e-3
"""The least residual sd, in prior units."""


class LinearFrame(eqx.Module):
    """Columns (F,) -> a frame in prior units.

    Attributes:
        weights: A, and b in its last column.
        factor: of the residual precision.
    """

    weights: Float[Array, "P F1"]
    factor: Float[Array, "P P"]

    def __call__(self, columns: Float[Array, " F"]) -> Frame:
        """The frame of a dataset."""
        return Frame(self.weights @ features(columns), self.factor)


def features(columns: Float[Array, " F"]) -> Float[Array, " G"]:
    """What is regressed on: the columns, as they are scaled (by arcsinh) and as they were, within
    bounds, and a one.
    """
    return jnp.concatenate([columns, jnp.clip(jnp.sinh(columns), -FAR, FAR), jnp.ones(1)])


def linear_frame(
    task: AbstractTask, scale: PriorScale, rows: RowScaler, key: PRNGKeyArray
) -> LinearFrame:
    """The regression of a task's latents on the columns of its only row.

    Args:
        task: a block of at most `MOST` numbers.
        scale: of the latents.
        rows: the scaling of the columns.
        key: draws the simulations.
    """

    def simulate(key: PRNGKeyArray) -> tuple[Array, Array]:
        draw = task.learning(key, 1)
        return scale.standardize(draw.latents), features(rows(draw.data)[0])

    latents, columns = jax.vmap(simulate)(jr.split(key, STORED if task.stored else SIMULATED))
    usable = jnp.isfinite(latents).all(1) & jnp.isfinite(columns).all(1)
    none = Moments.none(columns.shape[1], latents.shape[1])
    ridge = jnp.full(columns.shape[1], 1e-3)
    weights = solve(none.plus(columns, latents, usable), ridge).weights
    residual = jnp.where(usable[:, None], latents - columns @ weights, 0.0)
    size = task.latents.size
    spread = jnp.concatenate([residual / jnp.sqrt(jnp.sum(usable)), NARROW * jnp.eye(size)])
    return LinearFrame(weights.T, _precision_factor(spread))


def _precision_factor(spread: Float[Array, "R P"]) -> Float[Array, "P P"]:
    """The lower Cholesky factor of (R'R)^-1."""
    low = lower_factor(spread)
    inverse = jnp.linalg.inv(low)
    return lower_factor(inverse)
