"""What a mini-batch says of each query in closed form: least squares in learned keys, with the
prior divided out.

    keys k(x),  A = K'K + diag(ridge),   h0 = q' ridge^-1 q,   h = q' A^-1 q,   fit = q' A^-1 K'V
    gain = h0 / h - 1,                   estimate = fit (1 + 1 / gain)

`h0` and `h` are the variances of a query's value before and after the rows, in units of the
noise's, under a Gaussian prior on the weights. Rows alone, without that prior, say `estimate` with
a precision of `gain / h0`; so a query that holds the mean m with a precision of `weight / h0` comes
to

    m + gain / (weight + gain) (estimate - m),    weight + gain

The reading is the mesa layer of von Oswald et al. 2023, "Uncovering mesa-optimization algorithms in
Transformers", arXiv 2309.05858; the division by the prior is expectation propagation's (Minka 2001,
arXiv 1301.2294).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.networks.least_squares import Moments, solve
from amortppl.networks.mlp import mlp

LEAST = 1e-3
"""Least gain: of rows that say nothing of a query."""


FAINT = 0.3
"""How large weights of numbers that may be of no use begin, relative to the others."""


class QuerySite(NamedTuple):
    """The evidence of a mini-batch's rows on Q queries and V values.

    Attributes:
        fit: fitted values.
        estimate: fitted values without the prior's pull.
        before, after: h0 and h, variances in units of the noise's.
        gain: h0 / h - 1, the precision of the estimate in units of the prior's.
        spread: mean squared residual of the rows.
    """

    fit: Float[Array, "Q V"]
    estimate: Float[Array, "Q V"]
    before: Float[Array, " Q"]
    after: Float[Array, " Q"]
    gain: Float[Array, " Q"]
    spread: Float[Array, " V"]


class SiteReader(eqx.Module):
    """Learned keys of rows and queries: linear in x to begin with, and a perceptron's
    correction.
    """

    line: eqx.nn.Linear
    bend: eqx.nn.MLP
    log_ridge: Float[Array, " D"]

    def __init__(
        self,
        inputs: int,
        linear: int,
        size: int,
        hidden: int,
        key: PRNGKeyArray,
        faint: int = 0,
    ) -> None:
        """Draws the weights.

        Args:
            inputs: numbers in x, of which the first `linear` are the inputs themselves.
            size: D, numbers in a key.
            hidden: width of the perceptron.
            key: draws the weights.
            faint: how many of the last numbers in x begin with weights `FAINT` times as large.
        """
        first, second = jr.split(key)
        line = eqx.nn.Linear(inputs, size, key=first)
        kept = min(linear, size - 1)
        own = jnp.eye(size, inputs) if linear < size else line.weight
        weight = jnp.where(jnp.arange(size)[:, None] < kept, own, line.weight)
        bias = jnp.where(jnp.arange(size) == kept, 1.0, 0.0)
        weight = weight.at[kept].set(0.0)
        weight = weight.at[:, inputs - faint :].multiply(FAINT)
        self.line = eqx.tree_at(lambda n: (n.weight, n.bias), line, (weight, bias))
        self.bend = mlp(inputs, size, hidden, 1, second, start=jnp.zeros(size))
        self.log_ridge = jnp.where(jnp.arange(size) <= kept, np.log(0.5), np.log(8.0))

    def keys(self, x: Float[Array, "N X"]) -> Float[Array, "N D"]:
        """Keys of rows or queries."""
        return jax.vmap(self.line)(x) + jax.vmap(self.bend)(x)

    def __call__(
        self,
        keys: Float[Array, "B D"],
        values: Float[Array, "B V"],
        mask: Bool[Array, " B"],
        at: Float[Array, "Q D"],
    ) -> QuerySite:
        """The evidence of the rows that the mask keeps on the queries with keys `at`."""
        ridge = jnp.exp(jnp.clip(self.log_ridge, -8, 8))
        solved = solve(Moments.none(keys.shape[1], values.shape[1]).plus(keys, values, mask), ridge)
        fit, after = solved.read(at)
        before = jnp.sum(at**2 / ridge, -1) + 1e-6
        after = jnp.clip(after, 1e-6, before / (1 + LEAST))
        gain = before / after - 1
        return QuerySite(fit, fit * (1 + 1 / gain)[:, None], before, after, gain, solved.spread)
