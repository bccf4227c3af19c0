"""Draws of one number for each row by inverting its distribution function on a grid around the
mode.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from amortppl.task.quadrature import FINE, ModeAndScale, Rows, heights, product_rule

NODES, REACH = 33, 9.0
"""Points of a grid at which densities are evaluated, and its reach to either side in sds.
Logarithms of densities are cubics between these.
"""

OVER, PARTS = 0.1, 6
"""Nats by which a cubic may lie above and below both neighbours (0.56 sds apart, a normal density
is 0.04 higher in the middle), and parts of the cell that a draw lies in.

Drawing evenly within a part adds 0.0007 sd^2 to the variance."""


class Shape(NamedTuple):
    """The mean and sd of each row's density in units of its mode and scale, and the logarithm of
    its integral, by quadrature.
    """

    mean: Float[Array, " N"]
    sd: Float[Array, " N"]
    log_sum: Float[Array, " N"]

    @classmethod
    def of(cls, at_nodes: Float[Array, "K N"], near: ModeAndScale) -> "Shape":
        """Of log densities of one number each at the nodes, with modes and scales."""
        points, log_weights = product_rule(1, FINE)
        terms = at_nodes + log_weights[:, None]
        weights = jax.nn.softmax(terms, 0)
        mean = weights.T @ points[:, 0].astype(np.float32)
        variance = jnp.sum(weights * (points - mean) ** 2, 0)
        log_sum = logsumexp(terms, 0) + near.log_volume()
        return cls(mean, jnp.sqrt(jnp.maximum(variance, 0.01)), log_sum)


def on_grid(
    rows: Rows, near: ModeAndScale, key: Array, shape: Shape | None = None
) -> Float[Array, "N 1"]:
    """One draw for each row from a density of one number, by inverting its distribution function.

    The grid's centre and width are the density's mean and sd. A cell is drawn by its mass, by
    Simpson's rule; within it the logarithm of the density is the cubic through four points.

    Args:
        rows: the log densities.
        near: their modes and scales.
        key: the random key.
        shape: their means and sds, where they are known.
    """
    if shape is None:
        shape = Shape.of(heights(rows, near, product_rule(1, FINE)[0]), near)
    steps = np.linspace(-REACH, REACH, NODES, dtype=np.float32)[:, None]
    height = heights(rows, near, (shape.mean + shape.sd * steps)[..., None])
    height = jnp.maximum(height - jnp.max(height, 0), -1e3)  # of densities that end somewhere
    middle = _between(height[:-3], height[1:-2], height[2:-1], height[3:], 1.5)
    ends = [(height[i] + height[i + 1])[None] / 2 for i in (0, -2)]
    middle = jnp.exp(jnp.concatenate([ends[0], middle, ends[1]]))
    density = jnp.exp(height)
    mass = density[:-1] + 4 * middle + density[1:]
    below = np.tril(np.ones((NODES - 1,) * 2, np.float32)) @ mass
    level = jr.uniform(key, below[-1].shape)
    cell = jnp.minimum(jnp.sum(below <= level * below[-1], 0), NODES - 2)
    here = lambda values, at: jnp.take_along_axis(values, at[None], 0)[0]  # noqa: E731
    share = 1 - (here(below, cell) - level * below[-1]) / jnp.maximum(here(mass, cell), 1e-30)
    first = jnp.clip(cell - 1, 0, NODES - 4)
    four = [here(height, first + i) for i in range(4)]
    within = _inverted(four, (cell - first).astype(height.dtype), jnp.clip(share, 0.0, 1.0))
    z = REACH * (2 * (cell + within) / (NODES - 1) - 1)
    return near.at((shape.mean + shape.sd * z)[:, None])


def _inverted(
    four: list[Float[Array, " N"]], cell: Float[Array, " N"], share: Float[Array, " N"]
) -> Float[Array, " N"]:
    """Where in its cell, 0 to 1, the distribution function of each row has a share of the cell.

    Args:
        four: log densities at four points.
        cell: which of the three cells between these it is.
        share: of its mass.
    """
    inner = jnp.linspace(0.0, 1.0, PARTS + 1)[:, None]
    density = jnp.exp(_between(*four, cell + inner))
    mass = density[1:] + density[:-1]
    below = jnp.concatenate([jnp.zeros_like(mass[:1]), jnp.cumsum(mass, 0)])
    level = share * below[-1]
    part = jnp.clip(jnp.sum(below <= level, 0) - 1, 0, PARTS - 1)
    low, high = (jnp.take_along_axis(below, part[None] + i, 0)[0] for i in (0, 1))
    return (part + jnp.clip((level - low) / jnp.maximum(high - low, 1e-30), 0.0, 1.0)) / PARTS


def _between(a: Array, b: Array, c: Array, d: Array, t: Array | float) -> Array:
    """The cubic through heights at 0, 1, 2 and 3, at t; near the heights on either side of it."""
    cubic = (
        -(t - 1) * (t - 2) * (t - 3) / 6 * a
        + t * (t - 2) * (t - 3) / 2 * b
        - t * (t - 1) * (t - 3) / 2 * c
        + t * (t - 1) * (t - 2) / 6 * d
    )
    left = jnp.where(t < 1, a, jnp.where(t < 2, b, c))
    right = jnp.where(t <= 1, b, jnp.where(t <= 2, c, d))
    return jnp.clip(cubic, jnp.minimum(left, right) - OVER, jnp.maximum(left, right) + OVER)
