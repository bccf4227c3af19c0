"""Latents that follow one another and are not Gaussian, integrated out by a filter on nodes.

    p(y_t | y_1..t-1) = int int f_t-1(u_t-1) exp r_t(u_t-1, u_t) du_t-1 du_t
    f_t(u) = p(u_t = u | y_1..t)

As of stochastic volatility, counts whose rate wanders, or a stochastic differential equation in
steps of Euler's. Each filtering density is a Gaussian times the exponential of a polynomial p_t,

    f_t(u) = N(u; m_t, P_t) exp p_t(P_t^-1/2 (u - m_t)),

fitted at J nodes by least squares (`amortppl.task.path_polynomials`). The value at a node u_t is a
Gauss-Hermite sum over u_t-1 about its conditional mean given u_t. All nodes are placed beforehand,
by a Kalman filter of the model's quadratic expansion about the mode of the path; so r_t is
evaluated at all of them by 2 J I runs of the program, in which even and odd rows take turns.
Kitagawa 1987, "Non-Gaussian state-space modeling of nonstationary time series"; Koyama,
Pérez-Bolde, Shalizi and Kass 2010, "Approximate methods for state-space models" (the expansion).

Paths are drawn from the expansion's Gaussian and resampled by their weights (Rubin 1988).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from amortppl.runtime.compilation import run_once
from amortppl.task.path_latents import LOG_2PI, Filtered, Path, Quadratic, backward, expand, forward
from amortppl.task.path_polynomials import OUTER, between, least_squares, powers
from amortppl.task.quadrature import product_rule
from amortppl.task.small_matrices import cholesky, half_log_det, inverse, inverse_factor
from amortppl.task.tracing import Site

INNER = {1: 9, 2: 5}
"""Nodes of u_t-1 on each axis, by L."""

SEARCH, NEAR = 25, 0.02
"""Steps of the search for the path's mode, and the step in sds that ends it."""

PROPOSALS = 64
"""Paths that one is drawn from."""

Rows = Callable[[Float[Array, "N L"]], Float[Array, " N"]]


class Nodes(NamedTuple):
    """Where densities are evaluated: u_t at `outer`, u_t-1 at `inner` for each of these.

    Attributes:
        before: `inner` in the units of f_t-1, P^-1/2 (u - m).
        volume: log |P_t^1/2|, of the units of f_t.
        spread: log of the volume that the inner rule's nodes have for each other's.
        height: log N(u_t-1; m_t-1, P_t-1) at the inner nodes.
    """

    outer: Float[Array, "N J L"]
    inner: Float[Array, "N J I L"]
    before: Float[Array, "N J I L"]
    volume: Float[Array, " N"]
    spread: Float[Array, " N"]
    height: Float[Array, "N J I"]


class SmoothPath(Path):
    """A path of one or two numbers a row with smooth densities; in the place of `Path`."""

    rule, dear = "by a filter on nodes", True
    inexact = (
        "steps of the path are too long for the nodes that it is integrated out on, at this draw. "
        "A prior that keeps their sd small keeps such draws away; or simulate (Task.from_simulator)"
    )

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if self.size in OUTER:
            self.evaluations = 2 * (OUTER[self.size] * INNER[self.size]) ** self.size

    def log_densities(
        self, vector: Float[Array, " P"], data: Mapping[str, Array]
    ) -> tuple[Array, Float[Array, " N"]]:
        """(log prior of theta, log p(y_t | y_1..t-1, theta) of each row)."""
        fixed = stop_gradient((vector, dict(data)))
        mode, filtered = self._located(*fixed)
        nodes = stop_gradient(place(mode, filtered))
        table = at_nodes(lambda u: self.joint(vector, data, u)[1], nodes)
        return self.joint(vector, data, mode)[0], filter_on(table, nodes)

    def draw(
        self, vector: Float[Array, " P"], data: Mapping[str, Array], key: Array
    ) -> Float[Array, "N L"]:
        """A path drawn from p(u | y, theta), unconstrained."""
        mode, filtered = self._located(vector, data)
        keys = jr.split(key)

        def propose(z: Array) -> tuple[Array, Array]:
            away, height = _drawn(filtered, z)
            return mode + away, jnp.sum(self.joint(vector, data, mode + away)[1]) - height

        paths, weights = jax.vmap(propose)(jr.normal(keys[0], (PROPOSALS, *mode.shape)))
        return paths[jr.categorical(keys[1], jnp.where(jnp.isnan(weights), -jnp.inf, weights))]

    def mean(self, vector: Float[Array, " P"], data: Mapping[str, Array]) -> Float[Array, "N L"]:
        """The mode of the path given all rows."""
        return self._located(vector, data)[0]

    def check(
        self, deterministic: Mapping[str, Site], fixed: Sequence[str], has_density: bool
    ) -> list[str]:
        """Probes whether the latents are few and their densities finite.

        Raises:
            ModelError: they are not.
        """
        names = list(self.sites)
        if self.size not in OUTER:
            raise self.error(
                names,
                f"a path that is not linear and Gaussian is integrated out on nodes, with up to "
                f"{max(OUTER)} numbers a row, and this one has {self.size}",
            )
        rows = run_once(
            jax.vmap(lambda key: self.log_densities(*self._probe(key))[1]), jr.split(jr.key(11))
        )
        if not bool(jnp.any(jnp.all(jnp.isfinite(rows), 1))):
            raise self.error(
                names,
                "a path that is not linear and Gaussian is integrated out by quadrature about its "
                "mode, which fails here: a density has an edge, or does not fall off",
            )
        return [n for n in deterministic if n not in fixed and self._moves(n)]

    def _probe(self, key: Array) -> tuple[Array, dict[str, Array]]:
        return jr.normal(key, (self.density.latents.size,)) / 2, self._simulated(key)

    def _located(self, vector: Array, data: Mapping[str, Array]) -> tuple[Array, Filtered]:
        rows = lambda u: self.joint(vector, data, u)[1]  # noqa: E731
        start = jnp.zeros((next(iter(data.values())).shape[0], self.size), vector.dtype)
        mode = find_path(rows, start)
        return mode, forward(concave(expand(rows, mode)))


class Search(NamedTuple):
    """A search for the mode of a path: the best so far, its height, the next step, its size in sds,
    the share of it that is taken, and the number of steps.
    """

    at: Float[Array, "N L"]
    height: Array
    move: Float[Array, "N L"]
    change: Array
    length: Array
    count: Array


def concave(quadratic: Quadratic) -> Quadratic:
    """With each row's precision made positive definite."""
    factor = cholesky(jnp.nan_to_num(quadratic.precision), 1e-6)
    height, slope = (jnp.nan_to_num(a) for a in quadratic[:2])
    return Quadratic(height, slope, factor @ factor.mT)


def find_path(rows: Rows, start: Float[Array, "N L"]) -> Float[Array, "N L"]:
    """The mode of a path by Newton's steps, cut to a quarter where they lead down."""

    def direction(at: Array) -> tuple[Array, Array]:
        filtered = forward(concave(expand(rows, at)))
        move = backward(filtered, lambda mean, *_: mean, jnp.zeros_like(at))
        sd = jnp.sqrt(jnp.diagonal(inverse(filtered.messages.precision), 0, 1, 2))
        return move, jnp.max(jnp.abs(move) / sd)

    def unfinished(now: Search) -> Array:
        return (now.count < SEARCH) & (now.change > NEAR) & (now.length > 1e-4)

    def climb(now: Search) -> Search:
        new = now.at + now.length * now.move
        level = jnp.sum(rows(new))
        better = level >= now.height - 1e-5 * jnp.abs(now.height)
        at = jnp.where(better, new, now.at)
        length = jnp.where(better, jnp.minimum(1.0, 4 * now.length), now.length / 4)
        height = jnp.where(better, level, now.height)
        return Search(at, height, *direction(at), length, now.count + 1)

    zero, one = jnp.zeros(()), jnp.ones(())
    begin = Search(start, zero - jnp.finfo(start.dtype).max, 0 * start, one, one, zero)
    return jax.lax.while_loop(unfinished, climb, begin).at


def place(mode: Float[Array, "N L"], filtered: Filtered) -> Nodes:
    """Nodes about the filter of an expansion at a mode."""
    size = mode.shape[1]
    z, _ = product_rule(size, OUTER[size])
    inner_z, _ = product_rule(size, INNER[size])
    message, back = filtered.messages, filtered.back
    covariance = inverse(message.precision)
    half = cholesky(covariance)
    mean = (covariance @ message.linear[..., None])[..., 0]
    away = mean[:, None] + z @ half.mT
    within = inverse(back.precision)
    inside = cholesky(within)
    centre = (within @ (back.linear[..., None] - back.across @ away.mT)).mT
    inner = centre[:, :, None] + (inner_z @ inside.mT)[:, None]
    # f_0, of what comes before the first row, is a standard normal
    earlier = jnp.concatenate([jnp.zeros((1, size)), mean[:-1]])
    units = jnp.concatenate([jnp.eye(size)[None], half[:-1]])
    before = (inner - earlier[:, None, None]) @ inverse_factor(units)[:, None].mT
    volume = half_log_det(half)
    last = jnp.concatenate([jnp.zeros(1), volume[:-1]])[:, None, None]
    return Nodes(
        outer=mode[:, None] + away,
        inner=jnp.roll(mode, 1, 0)[:, None, None] + inner,
        before=before,
        volume=volume,
        spread=half_log_det(inside),
        height=-0.5 * jnp.sum(before**2, -1) - last - 0.5 * size * LOG_2PI,
    )


def at_nodes(rows: Rows, nodes: Nodes) -> Float[Array, "N J I"]:
    """r_t at the nodes of u_t and u_t-1, from runs in which even and odd rows take turns."""
    count, many, each, size = nodes.inner.shape
    own = jnp.broadcast_to(nodes.outer[:, :, None], nodes.inner.shape)
    before = jnp.roll(nodes.inner, -1, 0).at[-1].set(own[-1])
    odd = (np.arange(count) % 2 == 1)[:, None, None, None]
    paths = jnp.stack([jnp.where(odd, before, own), jnp.where(odd, own, before)])
    flat = jnp.moveaxis(paths.reshape(2, count, many * each, size), 1, 2)
    even, uneven = jax.vmap(jax.vmap(rows))(flat).reshape(2, many, each, count)
    table = jnp.moveaxis(jnp.where(odd[:, 0, 0, 0], uneven, even), 2, 0)
    return jnp.where(jnp.isnan(table), -1e30, jnp.maximum(table, -1e30))


def filter_on(table: Float[Array, "N J I"], nodes: Nodes) -> Float[Array, " N"]:
    """log p(y_t | y_1..t-1) of each row."""
    size = nodes.outer.shape[-1]
    z, weights = product_rule(size, OUTER[size])
    _, inside = product_rule(size, INNER[size])
    fit = jnp.asarray(least_squares(size), table.dtype)
    normal = -0.5 * np.sum(z**2, -1) - 0.5 * size * LOG_2PI

    def step(left: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
        density, before, height, volume, spread = row
        known = height + between(powers(before, size) @ (fit @ left), left, before)
        at = logsumexp(density + known + inside, 1) + spread
        total = logsumexp(at + weights) + volume
        return jnp.maximum(at + volume - total - normal, -1e3), total

    each = (table, nodes.before, nodes.height, nodes.volume, nodes.spread)
    return jax.lax.scan(step, jnp.zeros(len(z)), each)[1]


def _drawn(filtered: Filtered, z: Float[Array, "N L"]) -> tuple[Array, Array]:
    """A path of the expansion's Gaussian, and its log density."""
    last = jax.tree.map(lambda a: a[-1], filtered.messages)
    whole = jnp.concatenate([filtered.back.precision[1:], last.precision[None]])
    log_det = jnp.sum(half_log_det(cholesky(whole)))

    def sample(mean: Array, precision: Array, z: Array) -> Array:
        return mean + inverse_factor(cholesky(precision)).T @ z

    density = log_det - 0.5 * jnp.sum(z**2) - 0.5 * z.size * LOG_2PI
    return backward(filtered, sample, z), density
