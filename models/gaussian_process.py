"""Gaussian process regression in one dimension: RBF kernel, hyper-parameters latent, in a Hilbert-space basis.

    f(x) = sum_j sqrt(S(w_j)) weights_j sin(w_j (x + L)) / sqrt(L),    w_j = j pi / (2 L)
    S(w) = variance sqrt(2 pi) lengthscale exp(-(lengthscale w)^2 / 2),    y_i ~ N(f(x_i), noise^2),  x_i ~ U(-2, 2)

In the basis rows are independent given weights and hyper-parameters, so that a dataset can come in
mini-batches. Riutort-Mayol et al. 2023, "Practical Hilbert space approximate Bayesian Gaussian
processes for probabilistic programming", Statistics and Computing 33.
"""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

EDGE, SIZE = 3.0, 24
"""L, and how many basis functions: enough for length scales from 0.3 on."""

TASK = {"inputs": {"x": dist.Uniform(-2, 2)}, "rows": (5, 50)}


def model(x, y=None):
    """x (N,) in, y (N,) out."""
    lengthscale = numpyro.sample("lengthscale", dist.TruncatedDistribution(dist.LogNormal(-0.3, 0.5), low=0.3))
    amplitude = numpyro.sample("amplitude", dist.LogNormal(0.0, 0.3))
    noise = numpyro.sample("noise", dist.LogNormal(-1.6, 0.4))
    _observed(x, y, lengthscale, amplitude, noise)


def fixed(x, y=None):
    """The same with length scale 0.6, amplitude 1 and noise 0.2."""
    _observed(x, y, 0.6, 1.0, 0.2)


def _observed(x, y, lengthscale, amplitude, noise):
    weights = numpyro.sample("weights", dist.Normal(0, 1).expand([SIZE]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        f = _basis(x) @ (weights * _spectrum(lengthscale, amplitude))
        numpyro.sample("y", dist.Normal(f, noise), obs=y)


def _frequencies():
    return np.arange(1, SIZE + 1) * np.pi / (2 * EDGE)


def _basis(x):
    return jnp.sin(_frequencies() * (x[:, None] + EDGE)) / EDGE**0.5


def _spectrum(lengthscale, amplitude):
    """Square root of the spectral density at each frequency."""
    decay = jnp.exp(-((lengthscale * _frequencies()) ** 2) / 4)
    return amplitude * (2 * jnp.pi) ** 0.25 * jnp.sqrt(lengthscale) * decay


def exact_log_predictive(data, new):
    """Log density of each new row under `fixed`, in closed form, (N_new,)."""
    scale = np.asarray(_spectrum(0.6, 1.0), np.float64)
    phi, at = (np.asarray(_basis(jnp.asarray(d["x"])), np.float64) * scale for d in (data, new))
    precision = np.eye(SIZE) + phi.T @ phi / 0.04
    mean = at @ np.linalg.solve(precision, phi.T @ np.asarray(data["y"], np.float64)) / 0.04
    variance = 0.04 + np.sum(at * np.linalg.solve(precision, at.T).T, 1)
    return -0.5 * ((np.asarray(new["y"]) - mean) ** 2 / variance + np.log(2 * np.pi * variance))
