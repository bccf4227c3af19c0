"""A density of few numbers by adaptive importance sampling: kernels, and parts with long tails.

    q(h) = (1 - b - sum_j c_j) kernels(h) + b skewed(h) + sum_j c_j tail_j(h)
    kernels(h) = sum_k v_k t_8(h; p_k, (b_k L)(b_k L)'),   v_k = (1 - a) w_k + a w_k^1/2 / norm

w_k are importance weights of points h_k that lie as evenly as Sobol's sequence under a proposal
half Student-t and half of tails, whose place and covariance L L' are the weighted moments of a
round before. Kernels are wider where points are sparse (Abramson 1982), and their places p_k are
drawn together about the mean, so that they have the moments of the weighted points (West 1993,
"Approximating posterior distributions by mixtures", JRSS B 55).

The logarithm of a scale that may be zero has a long tail to the left, where its density falls with
the scale and kernels leave holes, and none to the right, where a Student-t draws scales a thousand
times too large. So the other parts are normal numbers less an exponential one: with y = L^-1 (h -
mean), `skewed` has a mean of 0, a sd of 1 and the points' skewness along each axis, and tail_j is

    y = normal - e / r_j a_j,    e ~ Exponential(1),

along whose unit vector a_j the number h_j falls, and others that fall with it by regression; its
share c_j is updated by its points' weights. Cappe, Douc, Guillin, Marin and Robert 2008, "Adaptive
importance sampling in general mixture classes", Statistics and Computing 18.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import log_ndtr, logsumexp
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import gammaln
from scipy.stats import chi2, norm, qmc

from amortppl.gaussian.frame import Frame
from amortppl.runtime.batched_map import batched_map

POINTS, ROUNDS = 512, 2
"""Points of a round, and rounds; after one, plain means of crossed effects were 0.8 sd off at worst
(kernels alone)."""

OF_POINTS, OF_KERNELS = 5.0, 8.0
"""Degrees of freedom of the points' Student-t and of the kernels'."""

TEMPERED, SKEWED, TAILS, FOLLOWED = 0.1, 0.25, 0.02, 0.05
"""a and b; of c, what all tails have at least, and the share of their points' weights."""

RATES, MOST_SKEWED = (0.5, 2.0), 0.9
"""Bounds on r_j, which is h_j's sd in prior units elsewhere: then the tail falls with the scale.
And the largest sd of the exponential part of `skewed`."""

FLOOR, RIDGE = 200.0, 1e-4
"""Log weights below the largest by which all are told apart, at most, and what is added to the
covariance of points."""

LOG_TWO_PI = 1.8378770664093453


class ScaleMixture(NamedTuple):
    """The mixture.

    Attributes:
        places: p_k.
        log_weights: log v_k.
        widths: b_k.
        mean, factor: of the weighted points, and L, lower.
        skewness: of the points along each axis: the sd of the exponential part, with its sign.
        tails: c.
    """

    places: Float[Array, "K H"]
    log_weights: Float[Array, " K"]
    widths: Float[Array, " K"]
    mean: Float[Array, " H"]
    factor: Float[Array, "H H"]
    skewness: Float[Array, " H"]
    tails: Float[Array, " H"]

    def log_prob(self, h: Float[Array, "*S H"]) -> Float[Array, "*S"]:
        """Log density of one point, or of several."""
        size, widths = h.shape[-1], self.widths
        y, c = self._along(jnp.atleast_2d(h)), self._along(self.places)
        apart = jnp.sum(y**2, -1)[:, None] - 2.0 * y @ c.T + jnp.sum(c**2, -1)
        each = log_student(jnp.maximum(apart, 0.0) / widths**2, OF_KERNELS, size)
        kernels = logsumexp(self.log_weights - size * jnp.log(widths) + each, -1)
        far = jnp.log(self.tails) + log_tails(y, self.factor)
        parts = jnp.stack([kernels, log_skewed(y, self.skewness), *far.T], -1)
        shares = jnp.log(self._shares[:2])
        total = logsumexp(parts + jnp.concatenate([shares, jnp.zeros(size)]), -1)
        return (total - jnp.sum(jnp.log(jnp.diagonal(self.factor)))).reshape(h.shape[:-1])

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S H"], Float[Array, " S"]]:
        """Independent draws and their log densities."""
        keys, size = jr.split(key, 5), self.places.shape[1]
        which = jr.categorical(keys[0], jnp.log(self._shares), shape=(draws,))
        pick = jr.categorical(keys[1], self.log_weights, shape=(draws,))
        normal, e = jr.normal(keys[2], (draws, size)), jr.exponential(keys[3], (draws, size))
        chi = 2.0 * jr.gamma(keys[4], OF_KERNELS / 2, (draws, 1))
        own = self._along(self.places)[pick]
        kernels = own + self.widths[pick][:, None] * normal * jnp.sqrt(OF_KERNELS / chi)
        part = self.skewness
        skewed = jnp.sqrt(1 - part**2) * normal + part * (e - 1)
        along, rates = _tails(self.factor)
        number = jnp.clip(which - 2, 0)
        tail = normal - (e[:, 0] / rates[number])[:, None] * along[number]
        y = jnp.where((which == 0)[:, None], kernels, skewed)
        y = jnp.where((which > 1)[:, None], tail, y)
        h = self.mean + y @ self.factor.T
        return h, self.log_prob(h)

    @property
    def _shares(self) -> Float[Array, " 2+H"]:
        rest = 1 - SKEWED - jnp.sum(self.tails)
        return jnp.concatenate([jnp.stack([rest, jnp.asarray(SKEWED)]), self.tails])

    def _along(self, h: Float[Array, "S H"]) -> Float[Array, "S H"]:
        return solve_triangular(self.factor, (h - self.mean).T, lower=True).T


def log_skewed(y: Float[Array, "S H"], part: Float[Array, " H"]) -> Float[Array, " S"]:
    """Log density of independent sqrt(1 - s^2) normal + s (e - 1), for each axis its s."""
    size = jnp.maximum(jnp.abs(part), 0.05)
    core = jnp.sqrt(1 - size**2)
    v = (jnp.where(part < 0, y, -y) - size) / core
    return jnp.sum(log_fallen(v, core / size) - jnp.log(core), -1)


def log_fallen(v: Array, rate: Array) -> Array:
    """Log density of a standard normal number less an exponential one of some rate."""
    return jnp.log(rate) + rate * v + rate**2 / 2 + log_ndtr(-v - rate)


def log_tails(y: Float[Array, "S H"], factor: Float[Array, "H H"]) -> Float[Array, "S H"]:
    """Log density of each tail."""
    along, rates = _tails(factor)
    v = y @ along.T
    rest = jnp.sum(y**2, -1)[:, None] - v**2
    return log_fallen(v, rates) - 0.5 * (rest + LOG_TWO_PI * (y.shape[1] - 1))


def _tails(factor: Array) -> tuple[Float[Array, "H H"], Float[Array, " H"]]:
    """Directions and rates."""
    covariance = factor @ factor.T
    sd = jnp.sqrt(jnp.diagonal(covariance))
    falls = jnp.maximum(covariance / sd[:, None], 0.0)
    along = solve_triangular(factor, falls.T, lower=True).T
    length = jnp.linalg.norm(along, axis=1)
    return along / length[:, None], jnp.clip(sd / length, *RATES)


def log_student(squared: Array, freedom: float, size: int) -> Array:
    """Log density of a Student-t of unit scale at a squared distance from its centre."""
    level = gammaln((freedom + size) / 2) - gammaln(freedom / 2)
    level = level - size / 2 * np.log(freedom * np.pi)
    return level - (freedom + size) / 2 * jnp.log1p(squared / freedom)


def explore(
    log_density: Callable[[Float[Array, " H"]], Array], frame: Frame, at_once: int
) -> ScaleMixture:
    """The mixture for a density that is near a Gaussian.

    Args:
        log_density: of h, up to a constant.
        frame: the Gaussian.
        at_once: points that are taken together.

    >>> off = lambda h: -0.5 * jnp.sum((h - jnp.array([1.0, -2.0])) ** 2 / jnp.array([4.0, 0.25]))
    >>> made = explore(off, Frame(jnp.zeros(2), jnp.eye(2)), 512)
    >>> made.mean.round().tolist(), (2 * jnp.diagonal(made.factor)).round().tolist()
    ([1.0, -2.0], [4.0, 1.0])
    """
    size, inverse = len(frame.location), frame.inverse()

    def look(now: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], ScaleMixture]:
        y, log_q, of_tails = _proposed(now[1])
        h = now[0] + y @ now[1].T
        ratio = batched_map(log_density, h, at_once) - log_q
        ratio = jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf)
        ratio = jnp.maximum(ratio - jnp.nan_to_num(jnp.max(ratio), neginf=0.0), -FLOOR)
        weights = jax.nn.softmax(ratio)
        mean = weights @ h
        covariance = (h - mean).T @ ((h - mean) * weights[:, None])
        ahead = mean, jnp.linalg.cholesky(covariance + RIDGE * jnp.eye(size))
        return ahead, _around(h, ratio, *ahead, weights @ of_tails)

    # The axes of a covariance's lower factor: the first is that of the first number alone
    start = frame.location, jnp.linalg.cholesky(inverse.T @ inverse)
    return jax.tree.map(lambda a: a[-1], jax.lax.scan(look, start, length=ROUNDS)[1])


def _proposed(
    factor: Float[Array, "H H"],
) -> tuple[Float[Array, "K H"], Float[Array, " K"], Float[Array, "K H"]]:
    """Whitened points, half of a Student-t and half of the tails, their log density, and the
    probability that each is of each tail.
    """
    size = len(factor)
    points, e, number = even_points(size)
    along, rates = _tails(factor)
    y = points - (e / rates[number])[:, None] * along[number]
    student = log_student(jnp.sum(y**2, -1), OF_POINTS, size)
    parts = jnp.stack([student + np.log(size), *log_tails(y, factor).T], -1) - np.log(2 * size)
    log_q = logsumexp(parts, -1)
    return y, log_q, jnp.exp(parts[:, 1:] - log_q[:, None])


def _around(h: Array, ratio: Array, mean: Array, factor: Array, of_tails: Array) -> ScaleMixture:
    """The mixture for points of given log weights, mean and factor of covariance, and the weight of
    each tail's points."""
    size = h.shape[1]
    own, root = jax.nn.softmax(ratio), jax.nn.softmax(0.5 * ratio)
    weights = (1 - TEMPERED) * own + TEMPERED * root
    width = (4 * jnp.sum(weights**2) / (size + 2)) ** (1 / (size + 4))  # Silverman's
    y = solve_triangular(factor, (h - mean).T, lower=True).T
    sparse = (OF_POINTS + size) / (4 * size) * jnp.log1p(jnp.sum(y**2, -1) / OF_POINTS)
    widths = jnp.minimum(width * jnp.exp(sparse - own @ sparse), 1.0)
    shrunk = jnp.sqrt(jnp.maximum(1 - width**2 * OF_KERNELS / (OF_KERNELS - 2), 0.05))
    places, log_weights = mean + shrunk * (h - mean), jnp.log(weights)
    part = jnp.cbrt(own @ y**3 / 2)  # an exponential number's third moment is 2
    part = jnp.where(part < 0, -1.0, 1.0) * jnp.clip(jnp.abs(part), 0.05, MOST_SKEWED)
    tails = TAILS / size + FOLLOWED * of_tails
    return ScaleMixture(places, log_weights, widths, mean, factor, part, tails)


@cache
def even_points(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each point its normal part, made longer for a Student-t, its exponential number, which is
    zero for these, and the number of its tail; the same for every dataset.
    """
    uniform = np.clip(qmc.Sobol(size + 1, seed=0).random(POINTS), 1e-6, 1 - 1e-6)
    number = np.arange(POINTS) // 2 % size
    is_tail, last = np.arange(POINTS) % 2 == 1, uniform[:, size]
    longer = np.where(is_tail, 1.0, np.sqrt(OF_POINTS / chi2.ppf(last, OF_POINTS)))
    points = norm.ppf(uniform[:, :size]) * longer[:, None]
    e = np.where(is_tail, -np.log(last), 0.0)
    return points.astype(np.float32), e.astype(np.float32), number
