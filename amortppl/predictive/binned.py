"""A binned density on the real line: sloping bars over a Gaussian's quantiles, and a wide tail.

    u = (v - shift) / scale,    p(v) = [(1 - e) N(u; 0, 1) h(Phi(u)) + e N(u; 0, 5^2)] / scale

with h >= 0 piecewise linear between B + 1 nodes and of integral one. Equal nodes are a Gaussian, so
a sharp predictive needs no fine grid. Bars with level tops (Muller et al. 2022, "Transformers can
do Bayesian inference", arXiv 2112.10510) have no gradient by shift and scale except where an edge
passes a value.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import ndtri
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

BINS, WIDE = 20, 5.0
"""B, and the tail's standard deviation."""


class Bars:
    """The family; its coefficients are shift, log scale, logit of e, and B + 1 log heights."""

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
    """Shift, log scale and the logit of e."""
    return coefficients[0], jnp.clip(coefficients[1], -9.0, 6.0), coefficients[2]


def _heights(coefficients: Float[Array, " K"]) -> Float[Array, " B"]:
    """h at the nodes, of integral one over [0, 1]."""
    heights = jnp.exp(4.0 * jnp.tanh(coefficients[3:] / 4.0))
    return heights / jnp.mean((heights[1:] + heights[:-1]) / 2)
