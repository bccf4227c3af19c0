"""Binned density on the real line: bars with sloping tops over the quantiles of a Gaussian, and a
wide tail.

    u = (v - shift) / scale,    p(v) = [(1 - e) N(u; 0, 1) h(Phi(u)) + e N(u; 0, 5^2)] / scale

with h >= 0 piecewise linear between B + 1 nodes and of integral one. Equal nodes are a Gaussian, so
a sharp predictive needs no fine grid. Bars with level tops (Muller et al. 2022, "Transformers can
do Bayesian inference", arXiv 2112.10510) would have no gradient where a moving frame's edge passes
a value.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import ndtri
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

BINS, WIDE = 20, 5.0


class Bars:
    """Coefficients: shift, log scale, logit of the tail's weight, B + 1 log heights."""

    coefficients = 3 + BINS + 1

    def initial(self) -> Float[Array, " K"]:
        """A standard normal."""
        return jnp.zeros(self.coefficients).at[2].set(-6.0)

    def log_prob(self, value: Array, coefficients: Float[Array, " K"]) -> Array:
        """Log density of a number."""
        shift, log_scale, tail = _frame(coefficients)
        u = (value - shift) * jnp.exp(-log_scale)
        height = jnp.interp(norm.cdf(u), jnp.linspace(0.0, 1.0, BINS + 1), _heights(coefficients))
        near = jax.nn.log_sigmoid(-tail) + norm.logpdf(u) + jnp.log(height)
        return (
            jnp.logaddexp(near, jax.nn.log_sigmoid(tail) + norm.logpdf(u, scale=WIDE)) - log_scale
        )

    def sample(self, key: PRNGKeyArray, coefficients: Float[Array, " K"]) -> Array:
        """One draw: a node by its weight, then a place on its triangle."""
        shift, log_scale, tail = _frame(coefficients)
        node, place, side, far = jr.uniform(key, (4,))
        halves = jnp.repeat(_heights(coefficients), 2)[1:-1]  # of each bar's left and right node
        until = jnp.cumsum(halves)
        half = jnp.sum(until[:-1] < node * until[-1])
        root = jnp.sqrt(place)
        quantile = (half // 2 + jnp.where(half % 2, root, 1.0 - root)) / BINS
        wide = side < jax.nn.sigmoid(tail)
        u = ndtri(jnp.clip(jnp.where(wide, far, quantile), 1e-6, 1 - 1e-6))
        return shift + jnp.exp(log_scale) * jnp.where(wide, WIDE, 1.0) * u


def _frame(coefficients: Float[Array, " K"]) -> tuple[Array, Array, Array]:
    return coefficients[0], jnp.clip(coefficients[1], -9.0, 6.0), coefficients[2]


def _heights(coefficients: Float[Array, " K"]) -> Float[Array, " B"]:
    """Heights at the nodes, such that the integral over [0, 1] is one."""
    heights = jnp.exp(4.0 * jnp.tanh(coefficients[3:] / 4.0))
    return heights / jnp.mean((heights[1:] + heights[:-1]) / 2)
