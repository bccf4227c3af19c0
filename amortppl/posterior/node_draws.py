"""Draws of one number for each row from its log density at the nodes of a quadrature.

    f(z) = -z^2 / 2 + r(z),    z in sds around the mode

r is small and smooth where the density is near a normal one. It is taken as the quintic through the
six nodes nearest by, so that what integrated the density gives its draws too, without looking at it
again. Whether quintics do is told by each node's distance from one through every other node, three
on either side: such a quintic is off by about 64 times as much.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.task.quadrature import FINE, product_rule

CELLS = 3
"""Cells between two nodes: each has three points (Simpson's rule gives its mass), and draws lie in
it as if the log density were linear."""

OFF, OUTSIDE = 0.05, 1e-4
"""Nats by which quintics of twice the width may be off, on average under the density, and the share
of it that may lie at the outermost nodes."""

NEAR = 6
"""Nodes that a curve goes through."""

LOWEST, OVER = -80.0, 0.2
"""Nats below the highest node at which a log density ends, and by which curves may leave the range
of the two nodes beside them (a normal density is 0.08 higher between two)."""


class Fixed(NamedTuple):
    """What depends on the nodes alone: K nodes, C cells, 2 C + 1 points.

    Attributes:
        nodes, log_weights: of the rule, (K,).
        points: ends and middles of cells in turn, (2 C + 1,).
        curves: remainders at nodes -> at points, (2 C + 1, K).
        left: the node at or left of each point, (2 C + 1,).
        wider: remainders at nodes -> their distance from wider curves, (K, K).
    """

    nodes: np.ndarray
    log_weights: np.ndarray
    points: np.ndarray
    curves: np.ndarray
    left: np.ndarray
    wider: np.ndarray


@cache
def _fixed() -> Fixed:
    nodes, log_weights = product_rule(1, FINE)
    z, count = nodes[:, 0], len(nodes)
    parts = 2 * CELLS
    points = np.concatenate(
        [z[:1], *(np.linspace(z[i], z[i + 1], parts + 1)[1:] for i in range(count - 1))]
    )
    left = np.minimum(np.arange(len(points)) // parts, count - 2)
    curves, wider = np.zeros((len(points), count)), np.eye(count)
    for i, (point, at) in enumerate(zip(points, left, strict=True)):
        near = np.clip(at + 1 - NEAR // 2, 0, count - NEAR) + np.arange(NEAR)
        curves[i, near] = _lagrange(z[near], point)
    for k in range(count):
        odd = np.arange(1 - k % 2, count, 2)
        first = np.clip(np.searchsorted(odd, k) - NEAR // 2, 0, len(odd) - NEAR)
        near = odd[first : first + NEAR]
        wider[k, near] -= _lagrange(z[near], z[k])
    return Fixed(*(np.asarray(v) for v in (z, log_weights, points, curves, left, wider)))


def _lagrange(nodes: np.ndarray, at: float) -> np.ndarray:
    """Weights of the values at some nodes in the polynomial through them, at a point."""
    others = [np.delete(nodes, i) for i in range(len(nodes))]
    return np.array([np.prod((at - o) / (n - o)) for n, o in zip(nodes, others, strict=True)])


def is_smooth(heights: Float[Array, "K N"]) -> Bool[Array, " N"]:
    """Whether draws from heights at the nodes are those of the density, for each row."""
    fixed = _fixed()
    weights = jax.nn.softmax(heights + fixed.log_weights[:, None], 0)
    top = jnp.max(heights, 0)
    rest = jnp.maximum(heights - top, LOWEST) + fixed.nodes[:, None] ** 2 / 2
    off = jnp.abs(fixed.wider.astype(np.float32) @ rest.astype(jnp.float32))
    return (jnp.sum(weights * off, 0) < OFF) & (weights[0] + weights[-1] < OUTSIDE)


def draw_between(heights: Float[Array, "K N"], key: PRNGKeyArray) -> Float[Array, " N"]:
    """One draw z of each row, by inverting its distribution function.

    Args:
        heights: log densities at the nodes of `amortppl.task.quadrature.product_rule(1, FINE)`.
        key: the random key.
    """
    fixed = _fixed()
    heights = jnp.maximum(heights - jnp.max(heights, 0), LOWEST)
    rest = heights + fixed.nodes[:, None] ** 2 / 2
    curve = fixed.curves.astype(np.float32) @ rest - fixed.points[:, None] ** 2 / 2
    beside = heights[fixed.left], heights[fixed.left + 1]
    curve = jnp.clip(curve, jnp.minimum(*beside) - OVER, jnp.maximum(*beside) + OVER)
    density = jnp.exp(curve)
    width = np.diff(fixed.points[::2]).astype(np.float32)
    mass = width[:, None] * (density[:-1:2] + 4 * density[1::2] + density[2::2])
    below = np.tril(np.ones((len(width),) * 2, np.float32)) @ mass
    level = jr.uniform(key, below[-1].shape) * below[-1]
    cell = jnp.minimum(jnp.sum(below <= level, 0), len(width) - 1)
    here = lambda values, at: jnp.take_along_axis(values, at[None], 0)[0]  # noqa: E731
    share = jnp.clip(1 - (here(below, cell) - level) / here(mass, cell), 0.0, 1.0)
    rise = here(curve, 2 * cell + 2) - here(curve, 2 * cell)
    steep = jnp.abs(rise) > 1e-3
    slope = jnp.where(steep, rise, 1.0)
    within = jnp.where(steep, jnp.log1p(share * jnp.expm1(slope)) / slope, share)
    start = jnp.asarray(fixed.points[::2], jnp.float32)
    return start[cell] + jnp.asarray(width)[cell] * within
