"""Gaussian process regression, squared-exponential kernel, one length scale for each of up to eight
inputs.

    l_d ~ LogNormal(0, 0.7),  a ~ LogNormal(0, 0.5),  s ~ LogNormal(-1.5, 0.5)
    y ~ N(0, K),    K_ij = a^2 exp(-1/2 sum_d ((x_id - x_jd) / l_d)^2) + s^2 [i = j]

Inputs of fewer dimensions fill up with columns of zeros, which leave the kernel as it is: a task's
number of dimensions is uniform on 1 to 8. Rasmussen and Williams 2006, "Gaussian processes for
machine learning", chapter 5; Liu et al. 2020, "Task-agnostic amortized inference of Gaussian
process hyperparameters", NeurIPS 33.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpyro
import numpyro.distributions as dist

DIMENSIONS = 8


def inputs(key, n):
    """n rows, uniform on (-2, 2) in the dimensions that the task has, zero in the others."""
    count, place = jr.split(key)
    used = jnp.arange(DIMENSIONS) < jr.randint(count, (), 1, DIMENSIONS + 1)
    return jnp.where(used, jr.uniform(place, (n, DIMENSIONS), minval=-2.0, maxval=2.0), 0.0)


TASK = {"inputs": {"x": inputs}, "rows": (5, 64), "likelihood": False}
"""Gradient and curvature go through 64 x 64 Cholesky factors: 25 updates of 32 tasks took 155 CPU
seconds, compilation
included, in which data alone made some 3,000 of 128. The density still checks every answer."""


def kernel(x, lengthscale, amplitude, noise):
    """Covariance of the observations at x (N, 8)."""
    apart = (x[:, None] - x) / lengthscale
    return amplitude**2 * jnp.exp(-0.5 * jnp.sum(apart**2, -1)) + noise**2 * jnp.eye(len(x))


def model(x, y=None):
    """x (N, 8) in, y (N,) out."""
    lengthscale = numpyro.sample(
        "lengthscale", dist.LogNormal(0.0, 0.7).expand([DIMENSIONS]).to_event(1)
    )
    amplitude = numpyro.sample("amplitude", dist.LogNormal(0.0, 0.5))
    noise = numpyro.sample("noise", dist.LogNormal(-1.5, 0.5))
    factor = jax.lax.linalg.cholesky(kernel(x, lengthscale, amplitude, noise))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), scale_tril=factor), obs=y)
