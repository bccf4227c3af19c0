"""Regression by a Gaussian process: the exact predictive, and the process as a model with latents.

    y_i = f(x_i) + 0.1 e_i,    f ~ GP(0, exp(-1/2 ((x - x') / 0.4)^2)),    x in [-2, 2]
    f(x) = sum_j w_j phi_j(x),    w_j ~ N(0, S(sqrt(lambda_j))),    j = 1 .. 24

with eigenfunctions phi_j of the Laplacian on [-3, 3] and S the kernel's spectral density: Solin and
Sarkka 2020, "Hilbert space methods for reduced-rank Gaussian process regression", Statistics and
Computing 30. The posterior of w is Gaussian, and its predictive that of the process.
"""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.stats import norm

LENGTH, NOISE, EDGE, BASES = 0.4, 0.1, 3.0, 24

ROOTS = np.arange(1, BASES + 1) * np.pi / (2 * EDGE)


def kernel(a, b, length=LENGTH):
    """Covariance of f at places (N,) and (M,)."""
    return jnp.exp(-0.5 * ((a[:, None] - b) / length) ** 2)


def exact_process(rows, mask, query):
    """Log predictive density under the kernel trained on."""
    covariance = kernel(rows["x"], rows["x"]) + jnp.diag(jnp.where(mask, NOISE**2, 1e6))
    across = kernel(rows["x"], query["x"])
    solved = jnp.linalg.solve(covariance, across)
    spread = 1 + NOISE**2 - jnp.sum(across * solved, 0)
    return norm.logpdf(query["y"], rows["y"] @ solved, jnp.sqrt(jnp.maximum(spread, 1e-4)))


def design(x):
    """phi_j(x) times the prior sd of w_j, (N, 24): standard normal weights give f."""
    density = np.sqrt(2 * np.pi) * LENGTH * np.exp(-0.5 * (LENGTH * ROOTS) ** 2)
    return jnp.sin(ROOTS * (x[:, None] + EDGE)) * np.sqrt(density / EDGE)


def exact_weights(rows, mask, query):
    """The same by the posterior of the weights."""
    phi, at = design(rows["x"]) * mask[:, None], design(query["x"])
    precision = jnp.eye(BASES) + phi.T @ phi / NOISE**2
    mean = at @ jnp.linalg.solve(precision, phi.T @ rows["y"]) / NOISE**2
    spread = jnp.sum(at * jnp.linalg.solve(precision, at.T).T, -1)
    return norm.logpdf(query["y"], mean, jnp.sqrt(NOISE**2 + spread))


def weights_of_process(x, y=None):
    """Places x (N,) in, y (N,) out."""
    weights = numpyro.sample("weights", dist.Normal(0, 1).expand([BASES]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(design(x) @ weights, NOISE), obs=y)
