"""Gaussian process regression in one dimension with a known kernel: nothing to infer but the
function.

    y ~ N(0, K),    K_ij = exp(-1/2 ((x_i - x_j) / 0.4)^2) + 0.1^2 [i = j],    x_i ~ U(-2, 2)

The task of the neural processes and of prior-fitted networks: predict y* at x* from rows seen.
Garnelo et al. 2018, "Conditional neural processes", arXiv 1807.01613; Muller et al. 2022, arXiv
2112.10510.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

TASK = {"inputs": {"x": dist.Uniform(-2, 2)}, "rows": (5, 50)}


def model(x, y=None):
    """x (N,) in, y (N,) out."""
    covariance = jnp.exp(-0.5 * ((x[:, None] - x) / 0.4) ** 2) + 0.1**2 * jnp.eye(len(x))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance), obs=y)
