"""A density of few numbers by kernels at weighted points: adaptive importance sampling.

    q(z) = sum_k v_k t(z; c_k, (b_k L)(b_k L)'),    v_k = (1 - a) w_k + a w_k^1/2 / sum_j w_j^1/2

w_k are importance weights p / t of points z_k that lie as evenly as those of Sobol's sequence under
a Student-t, whose place and covariance L L' are the weighted moments of a round before. Kernels are
wider where points are sparse (Abramson 1982), and their places c_k are drawn together about the
mean, so that the mixture has the moments of the weighted points and not those of the kernels beside
(West 1993, "Approximating posterior distributions by mixtures", JRSS B 55). The share a has longer
tails, and only where p has any: a Student-t of the logarithm of a scale draws scales a thousand
times too large. Cappe, Douc, Guillin, Marin and Robert 2008, "Adaptive importance sampling in
general mixture classes", Statistics and Computing 18.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import gammaln
from scipy.stats import chi2, norm, qmc

from amortppl.runtime.batched_map import batched_map

POINTS, ROUNDS = 512, 2
"""Points of a round, and rounds. Of 59 datasets of crossed effects (three scales) k-hat was below
0.7 on 95% after one round and on all after two, and plain means 0.8 and 0.14 sd off at worst."""

OF_POINTS, OF_KERNELS = 5.0, 8.0
"""Degrees of freedom of the points' Student-t and of the kernels'."""

TEMPERED = 0.3
"""a. With kernels of one width k-hat was below 0.7 on 71% and 88%, whatever the share."""

FLOOR, RIDGE = 200.0, 1e-4
"""Log weights below the largest by which all are told apart, at most, and what is added to the
covariance of whitened points."""


class ScaleMixture(NamedTuple):
    """The mixture.

    Attributes:
        places: c_k.
        log_weights: log v_k.
        widths: b_k.
        factor: L, lower.
    """

    places: Float[Array, "K H"]
    log_weights: Float[Array, " K"]
    widths: Float[Array, " K"]
    factor: Float[Array, "H H"]

    def log_prob(self, z: Float[Array, "*S H"]) -> Float[Array, "*S"]:
        """Log density of one point, or of several."""
        size = z.shape[-1]
        across = lambda x: solve_triangular(self.factor, x.T, lower=True).T  # noqa: E731
        x, c = across(jnp.atleast_2d(z)), across(self.places)
        apart = jnp.sum(x**2, -1)[:, None] - 2.0 * x @ c.T + jnp.sum(c**2, -1)
        squared = jnp.maximum(apart, 0.0) / self.widths**2
        each = self.log_weights - size * jnp.log(self.widths) + log_student(squared, OF_KERNELS, size)
        total = logsumexp(each, -1) - jnp.sum(jnp.log(jnp.diagonal(self.factor)))
        return total.reshape(z.shape[:-1])

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S H"], Float[Array, " S"]]:
        """Independent draws and their log densities."""
        keys, size = jr.split(key, 3), self.places.shape[1]
        pick = jr.categorical(keys[0], self.log_weights, shape=(draws,))
        normal = jr.normal(keys[1], (draws, size))
        chi = 2.0 * jr.gamma(keys[2], OF_KERNELS / 2, (draws, 1))
        around = normal * jnp.sqrt(OF_KERNELS / chi) @ self.factor.T
        z = self.places[pick] + self.widths[pick][:, None] * around
        return z, self.log_prob(z)


def log_student(squared: Array, freedom: float, size: int) -> Array:
    """Log density of a Student-t of unit scale at a squared distance from its centre."""
    level = gammaln((freedom + size) / 2) - gammaln(freedom / 2) - size / 2 * np.log(freedom * np.pi)
    return level - (freedom + size) / 2 * jnp.log1p(squared / freedom)


def explore(
    log_density: Callable[[Float[Array, " H"]], Array], size: int, at_once: int
) -> ScaleMixture:
    """The mixture for a density that is near a standard normal.

    Args:
        log_density: of H numbers, up to a constant.
        size: H.
        at_once: points that are taken together.

    >>> off = lambda z: -0.5 * jnp.sum((z - jnp.array([1.0, -2.0])) ** 2 / jnp.array([4.0, 0.25]))
    >>> z, _ = explore(off, 2, 512).sample(jr.key(0), 4000)
    >>> z.mean(0).round(1).tolist(), z.std(0).round(1).tolist()
    ([1.0, -2.0], [2.0, 0.5])
    """
    points = jnp.asarray(even_points(size))
    log_points = log_student(jnp.sum(points**2, -1), OF_POINTS, size)

    def look(now: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], ScaleMixture]:
        centre, factor = now
        z = centre + points @ factor.T
        ratio = batched_map(log_density, z, at_once) - log_points
        most = jnp.max(jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf))
        ratio = jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf) - jnp.nan_to_num(most, neginf=0.0)
        ratio = jnp.maximum(ratio, -FLOOR)
        weights = jax.nn.softmax(ratio)
        mean = weights @ z
        covariance = (z - mean).T @ ((z - mean) * weights[:, None])
        ahead = jnp.linalg.cholesky(covariance + RIDGE * jnp.eye(size))
        return (mean, ahead), _kernels(z, ratio, mean, ahead)

    start = jnp.zeros(size), jnp.eye(size)
    mixtures = jax.lax.scan(look, start, length=ROUNDS)[1]
    return jax.tree.map(lambda a: a[-1], mixtures)


def _kernels(z: Array, ratio: Array, mean: Array, factor: Array) -> ScaleMixture:
    """Kernels at points of given log weights, mean and factor of covariance."""
    size = z.shape[1]
    own, root = jax.nn.softmax(ratio), jax.nn.softmax(0.5 * ratio)
    weights = (1 - TEMPERED) * own + TEMPERED * root
    width = (4 * jnp.sum(weights**2) / (size + 2)) ** (1 / (size + 4))  # Silverman's
    apart = solve_triangular(factor, (z - mean).T, lower=True).T
    sparse = (OF_POINTS + size) / (4 * size) * jnp.log1p(jnp.sum(apart**2, -1) / OF_POINTS)
    widths = jnp.minimum(width * jnp.exp(sparse - own @ sparse), 1.0)
    shrunk = jnp.sqrt(jnp.maximum(1 - width**2 * OF_KERNELS / (OF_KERNELS - 2), 0.05))
    return ScaleMixture(mean + shrunk * (z - mean), jnp.log(weights), widths, factor)


@cache
def even_points(size: int) -> Float[np.ndarray, "K H"]:
    """Points of a Student-t by Sobol's sequence; the same for every dataset."""
    uniform = qmc.Sobol(size + 1, seed=0).random(POINTS)
    uniform = np.clip(uniform, 1e-6, 1 - 1e-6)
    spread = np.sqrt(chi2.ppf(uniform[:, size:], OF_POINTS) / OF_POINTS)
    return (norm.ppf(uniform[:, :size]) / spread).astype(np.float32)
