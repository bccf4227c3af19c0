"""Stochastic variational inference, un-learned: a Gaussian fitted to each dataset by Adam on the
ELBO.

    ELBO = E_q [log p(theta, D)] + entropy of q,    theta = m + L e,  e ~ N(0, I)

Kucukelbir et al. 2017, "Automatic differentiation variational inference", JMLR 18.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, PRNGKeyArray

from amortppl.gaussian.frame import Frame
from amortppl.gaussian.recursive import RecursiveGuide, prior_scale
from amortppl.task.abstract import AbstractTask

NARROW = 0.1
"""Scale of the first Gaussian beside the prior's (as in NumPyro's and Pyro's automatic guides):
gradients at draws as
wide as the prior have tails so long that Adam's steps vanish."""


class SVIGuide(RecursiveGuide):
    """The built method. See `SVI` for its options."""

    def fit(self, joint: Callable[[Array], Array], start: Frame) -> Frame:
        """Adam on the mean and on the Cholesky factor of the covariance, its diagonal by the
        log.
        """
        size, options = start.location.shape[0], self.options
        optimiser = optax.adam(optax.cosine_decay_schedule(options.rate, options.iterations))

        def spread(below: Array) -> Array:
            keep = jnp.eye(size) if options.mean_field else jnp.tril(jnp.ones((size, size)))
            return jnp.tril(below, -1) * keep + jnp.diag(jnp.exp(jnp.diag(below)))

        def loss(fitted: tuple[Array, Array], key: PRNGKeyArray) -> Array:
            mean, below = fitted
            draws = mean + jr.normal(key, (options.draws, size)) @ spread(below).T
            return -jnp.mean(jax.vmap(joint)(draws)) - jnp.sum(jnp.diag(below))

        def update(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, None]:
            fitted, moments = carry
            slope = jax.tree.map(jnp.nan_to_num, jax.grad(loss)(fitted, key))
            change, moments = optimiser.update(slope, moments)
            return (optax.apply_updates(fitted, change), moments), None

        begun = NARROW * jnp.linalg.cholesky(
            jax.scipy.linalg.cho_solve((start.factor, True), jnp.eye(size))
        )
        first = (start.location, jnp.tril(begun, -1) + jnp.diag(jnp.log(jnp.diag(begun))))
        keys = jr.split(jr.key(0), options.iterations)
        (mean, below), _ = jax.lax.scan(update, (first, optimiser.init(first)), keys)[0]
        half = solve_triangular(spread(below), jnp.eye(size), lower=True)
        return Frame(mean, jnp.linalg.cholesky(half.T @ half))


@dataclass(frozen=True)
class SVI:
    """Options: Adam steps for a mini-batch, their rate, draws in each, and whether q is a
    product.
    """

    iterations: int = 1000
    rate: float = 0.05
    draws: int = 4
    mean_field: bool = False

    def schedule(self, task: AbstractTask) -> dict[str, Any]:
        """Nothing is trained."""
        return {"steps": 0}

    def build(self, task: AbstractTask, key: PRNGKeyArray) -> SVIGuide:
        """Prior units for a task."""
        return SVIGuide(task=task, options=self, scale=prior_scale(task, key, "svi"))


METHOD = SVI
