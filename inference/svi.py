"""Stochastic variational inference, un-learned: a Gaussian for each dataset by Adam on the ELBO.

    ELBO = E_q [log p(theta, D)] + entropy of q,    theta = m + L e,  e ~ N(0, I)

Kucukelbir et al. 2017, "Automatic differentiation variational inference", JMLR 18. In
the later half of the steps the entropy's gradient goes through the draws alone, which has no noise
where the Gaussian is the posterior, and too much far from it: Roeder, Wu and Duvenaud 2017,
"Sticking the landing", NeurIPS.
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

from amortppl.gaussian.frame import Frame, lower_factor
from amortppl.gaussian.recursive import RecursiveGuide, prior_scale
from amortppl.runtime.optimization import minimize_stochastic
from amortppl.task.abstract import AbstractTask

NARROW = 0.1
"""Scale of the first Gaussian relative to the one before, the prior's at first, as in NumPyro's and
Pyro's automatic guides.

Gradients at draws as wide as a prior have tails so long that Adam's steps vanish.
"""

LATE = 0.5
"""Share of the steps after which the entropy's gradient goes through the draws alone.

Without, errors of 24 latents add up over mini-batches: 1.0 sd after twenty, for 0.025.
"""


class SVIGuide(RecursiveGuide):
    """The built method. See `SVI` for its options."""

    def fit(self, joint: Callable[[Array], Array], start: Frame) -> Frame:
        """Adam on the mean and on the Cholesky factor of the covariance, its diagonal as logs.

        Both are in units of the Gaussian to start from: Adam's steps are then small beside its
        width, however many mini-batches have narrowed it.
        """
        size, options = start.location.shape[0], self.options
        finite = optax.stateless(lambda gradient, _: jax.tree.map(jnp.nan_to_num, gradient))
        rate = optax.cosine_decay_schedule(options.rate, options.iterations)

        def spread(below: Array) -> Array:
            keep = jnp.eye(size) if options.mean_field else jnp.tril(jnp.ones((size, size)))
            return jnp.tril(below, -1) * keep + jnp.diag(jnp.exp(jnp.diag(below)))

        def entropy(below: Array, moved: Array) -> Array:
            """Of the Gaussian, its gradient through the draws alone."""
            fixed = spread(jax.lax.stop_gradient(below))
            standard = solve_triangular(fixed, moved.T, lower=True)
            return jnp.sum(standard**2) / (2 * options.draws)

        def loss(fitted: tuple[Array, Array], at: tuple[PRNGKeyArray, Array]) -> Array:
            (mean, below), (key, late) = fitted, at
            draws = mean + jr.normal(key, (options.draws, size)) @ spread(below).T
            moved = draws - jax.lax.stop_gradient(mean)
            wide = jnp.where(late, entropy(below, moved), jnp.sum(jnp.diag(below)))
            return -jnp.mean(jax.vmap(joint)(start.unwhiten(draws))) - wide

        first = (jnp.zeros(size), jnp.log(NARROW) * jnp.eye(size))
        late = jnp.arange(options.iterations) >= LATE * options.iterations
        keys = (jr.split(jr.key(0), options.iterations), late)
        optimizer = optax.chain(finite, optax.adam(rate))
        mean, below = minimize_stochastic(loss, first, optimizer, keys)
        half = solve_triangular(spread(below), start.factor.T, lower=True)
        return Frame(start.unwhiten(mean), lower_factor(half))


@dataclass(frozen=True)
class SVI:
    """Options of stochastic variational inference.

    Attributes:
        iterations: Adam steps for a mini-batch.
        rate: their first learning rate; it falls to zero by a cosine.
        draws: of the Gaussian in each step.
        mean_field: whether its covariance is diagonal.
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
