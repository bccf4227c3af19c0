"""A distribution known up to a constant: found by adaptive importance sampling, drawn by NUTS.

    q(theta) = f(theta) / Z

Stages of importance sampling move a Student t proposal from the prior to where f has its mass
(population Monte Carlo: Cappé, Guillin, Marin and Robert 2004, "Population Monte Carlo", Journal of
Computational and Graphical Statistics 13). The last one's points give Z, and, resampled by their
weights, the starts of many short chains of NUTS (Hoffman and Gelman 2014, arXiv 1111.4246), so that
several modes keep their shares. Where the points are worth many more draws than are wanted, they
are resampled instead, and no chain is run (Rubin 1988, "Using the SIR algorithm to simulate
posterior distributions").
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

POINTS, STAGES, FREEDOM = 2048, 6, 5.0
"""Points of a stage, stages before the last one, degrees of freedom of the proposal."""

FEW = 4
"""Of so few latents half as many points do for a stage."""

STOP = 0.3
"""Effective share of a stage's points at which the proposal lies where it should."""

PART = 1024
"""Points of the last stage are added so many at a time, until they are worth half of all."""

SHARE = 0.05
"""Effective share of the points that a stage's weights are flattened to."""

APART, DEPTH = 2, 4
"""Steps between two draws of a chain, and the most doublings of a step."""

PLENTY = 2
"""Times the draws wanted that the points' effective number must be for them to be resampled."""


class Found(NamedTuple):
    """Where the mass is: points (N, P), log f there (N,), their log weights (N,), and log Z.

    Points that were not needed have weight zero.
    """

    points: Array
    heights: Array
    log_weights: Array
    log_mass: Array


class Unnormalized(eqx.Module):
    """A distribution on R^P whose log density is known up to a constant.

    >>> import jax, jax.numpy as jnp
    >>> two = Unnormalized(lambda v: -0.5 * jnp.sum((jnp.abs(v) - 2.0) ** 2) / 0.25, 1)
    >>> round(float(two.log_prob(jnp.array([2.0]))), 1)  # half of N(2, 0.5^2), half of N(-2, )
    -0.9

    Attributes:
        height: log f, a function or a pytree that can be called; of the latter the whole is one.
        size: P. The mass should lie within a few units of zero.
        chains: at most.
        warmup: steps of each chain before its first draw.
        found: what importance sampling found, looked for once.
    """

    height: Callable[[Array], Array]
    size: int = eqx.field(static=True)
    chains: int = eqx.field(static=True)
    warmup: int = eqx.field(static=True)
    found: Found

    def __init__(
        self,
        height: Callable[[Array], Array],
        size: int,
        points: int = 8192,
        chains: int = 64,
        warmup: int = 50,
    ) -> None:
        self.height, self.size, self.chains, self.warmup = height, size, chains, warmup
        self.found = _find(height, size, points)

    def log_prob(self, vector: Float[Array, " P"]) -> Array:
        """log f - log Z, with Z by importance sampling."""
        return self.height(vector) - self.found.log_mass

    def sample(
        self, key: PRNGKeyArray, draws: int
    ) -> tuple[Float[Array, "S P"], Float[Array, " S"]]:
        """Draws and their log densities: resampled points, or draws from chains of NUTS."""
        worth = _worth(self.found.log_weights)
        by = lambda f: lambda: f(key, draws)  # noqa: E731
        # A branch that is not taken costs nothing, but under `vmap`.
        vectors, heights = jax.lax.cond(
            worth >= PLENTY * draws, by(self._by_weights), by(self._by_chains)
        )
        return vectors, heights - self.found.log_mass

    def _by_weights(self, key: PRNGKeyArray, draws: int) -> tuple[Array, Array]:
        """Points by their weights, in random order, and the heights there."""
        keys = jr.split(key)
        place = jr.permutation(keys[0], _systematic(keys[1], self.found.log_weights, draws))
        return self.found.points[place], self.found.heights[place]

    def _by_chains(self, key: PRNGKeyArray, draws: int) -> tuple[Array, Array]:
        """Draws of chains that start at the points by their weights, and the heights there."""
        chains = min(self.chains, draws)
        keys = jr.split(key, chains + 1)
        order = _resample(keys[0], self.found, chains)
        # A step moves along the mass: weights as equal as those of the stages give its extent.
        placed = _moments(self.found.points, _flatten(self.found.log_weights))
        run = jax.vmap(lambda k, start: self._chain(k, start, placed, -(-draws // chains)))
        vectors, heights = run(keys[1:], self.found.points[order])
        # Draw by draw across chains, so that fewer draws are as many chains.
        vectors, heights = jnp.moveaxis(vectors, 0, 1), heights.T
        return vectors.reshape(-1, self.size)[:draws], heights.ravel()[:draws]

    def start_weights(self) -> Float[Array, " N"]:
        """Log importance weights of the points that chains start from."""
        return self.found.log_weights

    def _chain(
        self, key: PRNGKeyArray, start: Array, placed: tuple[Array, Array], length: int
    ) -> tuple[Array, Array]:
        """Draws (L, P) of one chain and the heights there, in units of the points' extent."""
        from numpyro.infer import NUTS

        centre, factor = placed
        at = lambda u: centre + factor @ u  # noqa: E731
        kernel = NUTS(potential_fn=lambda u: -self.height(at(u)), max_tree_depth=DEPTH)
        first = solve_triangular(factor, start - centre, lower=True)
        state = kernel.init(key, self.warmup, first, (), {})
        step = lambda s, _: (kernel.sample(s, (), {}), None)  # noqa: E731
        state = jax.lax.scan(step, state, length=self.warmup)[0]

        def draw(state: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
            after = jax.lax.scan(step, state, length=APART)[0]
            return after, (at(after.z), -after.potential_energy)

        return jax.lax.scan(draw, state, length=length)[1]


def _find(height: Callable[[Array], Array], size: int, count: int) -> Found:
    """Points where the mass is, the same ones for the same f."""
    parts = -(-count // PART)
    standard = _standard_points(count if parts == 1 else parts * PART, size)
    some = standard[: POINTS if size > FEW else POINTS // 2]

    def stage(now: tuple) -> tuple:
        points, _, log_weights = _look(height, now[0], some)
        share = _worth(log_weights) / len(points)
        return _moments(points, _flatten(log_weights)), share, now[2] + 1

    first = (jnp.zeros(size), 1.5 * jnp.eye(size)), jnp.zeros(()), 0
    more = lambda now: (now[1] < STOP) & (now[2] < STAGES)  # noqa: E731
    placed = jax.lax.while_loop(more, stage, first)[0]
    return _gather(height, placed, standard)


def _gather(
    height: Callable[[Array], Array], placed: tuple[Array, Array], standard: Array
) -> Found:
    """Points of one proposal, as many parts as it takes."""
    size = min(PART, len(standard))
    parts = len(standard) // size
    enough = len(standard) / 2

    def add(now: tuple) -> tuple:
        heights, log_weights, done = now
        part = jax.lax.dynamic_slice_in_dim(standard, done * size, size)
        _, own, weights = _look(height, placed, part)
        put = lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, done * size, 0)  # noqa: E731
        return put(heights, own), put(log_weights, weights), done + 1

    none = jnp.full(len(standard), -jnp.inf)
    more = lambda now: (_worth(now[1]) < enough) & (now[2] < parts)  # noqa: E731
    heights, log_weights, done = jax.lax.while_loop(more, add, (none, none, 0))
    centre, factor = placed
    log_mass = logsumexp(log_weights) - jnp.log(done * size)
    return Found(centre + standard @ factor.T, heights, log_weights, log_mass)


def _look(
    height: Callable[[Array], Array], placed: tuple[Array, Array], standard: Array
) -> tuple[Array, Array, Array]:
    """Points of one proposal, log f there, and their log weights."""
    centre, factor = placed
    points = centre + standard @ factor.T
    proposed = _student(standard) - jnp.sum(jnp.log(jnp.diag(factor)))
    heights = jax.vmap(height)(points)
    return points, heights, jnp.where(jnp.isfinite(heights), heights, -jnp.inf) - proposed


def _worth(log_weights: Float[Array, " N"]) -> Array:
    """How many draws the points are worth; none where all weights are zero."""
    worth = jnp.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights))
    return jnp.where(jnp.isfinite(worth), worth, 0.0)


def _standard_points(count: int, size: int) -> Float[Array, "N P"]:
    """Draws of the standard t distribution, always the same."""
    keys = jr.split(jr.key(0))
    gamma = jr.gamma(keys[0], FREEDOM / 2, (count, 1)) * 2 / FREEDOM
    return jr.normal(keys[1], (count, size)) / jnp.sqrt(gamma)


def _student(standard: Float[Array, "N P"]) -> Float[Array, " N"]:
    """Log density of the standard multivariate t distribution."""
    size = standard.shape[1]
    level = gammaln((FREEDOM + size) / 2) - gammaln(FREEDOM / 2)
    level -= size / 2 * jnp.log(FREEDOM * jnp.pi)
    return level - (FREEDOM + size) / 2 * jnp.log1p(jnp.sum(standard**2, 1) / FREEDOM)


def _flatten(log_weights: Float[Array, " N"]) -> Float[Array, " N"]:
    """Weights to the power, at most one, at which a share of the points is effective."""

    def share(power: Array) -> Array:
        scaled = power * (log_weights - jnp.max(log_weights))
        return jnp.exp(2 * logsumexp(scaled) - logsumexp(2 * scaled)) / log_weights.shape[0]

    def halve(ends: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = ends
        middle = jnp.sqrt(low * high)
        enough = share(middle) >= SHARE
        return (jnp.where(enough, middle, low), jnp.where(enough, high, middle)), None

    one = jnp.ones(())
    low = jax.lax.scan(halve, (1e-6 * one, one), length=25)[0][0]
    return jax.nn.log_softmax(jnp.where(share(one) >= SHARE, one, low) * log_weights)


def _moments(points: Float[Array, "N P"], log_weights: Float[Array, " N"]) -> tuple[Array, Array]:
    """Weighted mean, and the Cholesky factor of the covariance."""
    weights = jnp.exp(log_weights)
    centre = weights @ points
    apart = points - centre
    covariance = (weights[:, None] * apart).T @ apart
    ridge = 1e-6 * jnp.trace(covariance) / len(centre) + 1e-8
    return centre, jnp.linalg.cholesky(covariance + ridge * jnp.eye(len(centre)))


def _resample(key: PRNGKeyArray, found: Found, count: int) -> Array:
    """Places resampled in order along the widest direction, so that modes keep their shares."""
    factor = _moments(found.points, jax.nn.log_softmax(found.log_weights))[1]
    widest = jnp.linalg.svd(factor)[0][:, 0]
    order = jnp.argsort(found.points @ widest)
    return order[_systematic(key, found.log_weights[order], count)]


def _systematic(key: PRNGKeyArray, log_weights: Float[Array, " N"], count: int) -> Array:
    """Places of points resampled by their weights, with one random number."""
    level = (jnp.arange(count) + jr.uniform(key)) / count
    return jnp.searchsorted(jnp.cumsum(jax.nn.softmax(log_weights)), level).clip(
        max=len(log_weights) - 1
    )
