"""A learned task latent z whose Gaussian posterior is refined by rows in natural parameters.

Each row emits R factors N(v_r; phi_r' z, 1) with learned phi and v, so that

    precision = I + sum_i sum_r phi_ir phi_ir',    precision mean = sum_i sum_r phi_ir v_ir

add up over rows and mini-batches (with diagonal factors: Volpp et al. 2021, "Bayesian context
aggregation for neural processes", ICLR).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PRNGKeyArray

from amortppl.networks.least_squares import Moments, Solved, solve
from amortppl.networks.mlp import mlp
from amortppl.predictive.preprocessing import Reader
from amortppl.task.batch import Batch

FACTORS = 2


class TaskLatent(NamedTuple):
    """Posterior of z: a Gaussian by its fit."""

    fit: Solved

    @property
    def mean(self) -> Float[Array, " Z"]:
        """Its mean."""
        return self.fit.weights[:, 0]

    @property
    def sd(self) -> Float[Array, " Z"]:
        """Its marginal standard deviations."""
        return jnp.linalg.norm(self.unwhiten(jnp.eye(self.mean.shape[0])), axis=0)

    def unwhiten(self, noise: Float[Array, "S Z"]) -> Float[Array, "S Z"]:
        """Standard normals -> deviations from the mean."""
        return solve_triangular(self.fit.factor, noise.T, lower=True, trans=1).T

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S Z"], Float[Array, " S"]]:
        """Draws and their log densities."""
        noise = jr.normal(key, (draws, self.mean.shape[0]))
        log_scale = jnp.sum(jnp.log(jnp.diag(self.fit.factor)))
        height = log_scale - 0.5 * noise.shape[1] * jnp.log(2 * jnp.pi)
        return self.mean + self.unwhiten(noise), height - 0.5 * jnp.sum(noise**2, 1)


class Factors(eqx.Module):
    """The factors that rows emit: directions phi from x, heights v from x and y, linear plus a
    perceptron.
    """

    direction: eqx.nn.Linear
    turn: eqx.nn.MLP
    height: eqx.nn.Linear
    lift: eqx.nn.MLP
    size: int = eqx.field(static=True)

    def __init__(self, reader: Reader, size: int, hidden: int, key: PRNGKeyArray) -> None:
        keys, seen = jr.split(key, 4), reader.x_size + reader.y_size
        self.size = size
        self.direction = eqx.nn.Linear(reader.x_size, FACTORS * size, key=keys[0])
        self.turn = mlp(reader.x_size, FACTORS * size, hidden, 2, keys[1])
        self.height = eqx.nn.Linear(seen, FACTORS, key=keys[2])
        self.lift = mlp(seen, FACTORS, hidden, 2, keys[3], start=jnp.zeros(FACTORS))

    def none(self) -> Moments:
        """Before any row."""
        return Moments.none(self.size, 1)

    def add(self, moments: Moments, reader: Reader, batch: Batch) -> Moments:
        """With the factors of a mini-batch's rows."""
        x, y = reader.x(batch.data), reader.y(reader.standard(batch.data))
        phi = jax.vmap(self.direction)(x) + jax.vmap(self.turn)(x)
        seen = jnp.concatenate([x, y], -1)
        v = jax.vmap(self.height)(seen) + jax.vmap(self.lift)(seen)
        mask = jnp.repeat(batch.mask, FACTORS)
        return moments.plus(phi.reshape(-1, self.size), v.reshape(-1, 1), mask)

    def posterior(self, moments: Moments) -> TaskLatent:
        """z given the rows seen; the prior is a standard normal."""
        return TaskLatent(solve(moments, jnp.ones(self.size)))
