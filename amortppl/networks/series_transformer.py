"""A transformer along the steps of a series, which sees how far apart two steps are.

    logit_h(i, j) = q_i . k_j / sqrt(d) + b_h(i - j)

with b_h piecewise linear in asinh(i - j), learned: Shaw, Uszkoreit and Vaswani 2018,
"Self-attention with relative position representations", arXiv 1803.02155; Raffel et al. 2020, arXiv
1910.10683, of distances that are ever coarser. Steps are read alike wherever the series begins.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from amortppl.networks.mlp import mlp

HEADS, LAYERS = 4, 2

KNOTS = 19
"""Of b_h: at asinh(distance) from -9 to 9, which is 4,051 steps."""


class RelativeAttention(eqx.Module):
    """Self-attention over steps, then a perceptron, each added to what came.

    >>> attend = RelativeAttention(8, jr.key(0))
    >>> attend(jnp.ones((5, 8)), jnp.ones(5, bool)).shape
    (5, 8)
    """

    project: eqx.nn.Linear
    join: eqx.nn.Linear
    apart: Float[Array, "H K"]
    after: eqx.nn.MLP
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]

    def __init__(self, size: int, key: PRNGKeyArray) -> None:
        keys, each = jr.split(key, 4), max(size // HEADS, 1)
        self.project = eqx.nn.Linear(size, 3 * HEADS * each, use_bias=False, key=keys[0])
        self.join = eqx.nn.Linear(HEADS * each, size, key=keys[1])
        self.apart = jr.normal(keys[2], (HEADS, KNOTS))
        self.after = mlp(size, size, 2 * size, 1, keys[3], start=jnp.zeros(size))
        self.norms = (eqx.nn.LayerNorm(size), eqx.nn.LayerNorm(size))

    def __call__(self, hidden: Float[Array, "N E"], mask: Bool[Array, " N"]) -> Float[Array, "N E"]:
        """Steps after attention to those that the mask keeps."""
        count = hidden.shape[0]
        parts = jax.vmap(self.project)(jax.vmap(self.norms[0])(hidden))
        query, key, value = parts.reshape(count, 3, HEADS, -1).transpose(1, 2, 0, 3)
        logits = query @ key.transpose(0, 2, 1) / query.shape[-1] ** 0.5 + self._biases(count)
        weights = jax.nn.softmax(jnp.where(mask, logits, -1e9), -1)
        seen = (weights @ value).transpose(1, 0, 2).reshape(count, -1)
        hidden = hidden + jax.vmap(self.join)(seen)
        return hidden + jax.vmap(lambda h: self.after(self.norms[1](h)))(hidden)

    def _biases(self, count: int) -> Float[Array, "H N N"]:
        """b_h(i - j)."""
        lags = jnp.arange(1 - count, count)
        place = jnp.arcsinh(lags.astype(jnp.float32))[:, None] - jnp.linspace(-9.0, 9.0, KNOTS)
        by_lag = self.apart @ jnp.maximum(1 - jnp.abs(place), 0.0).T
        steps = jnp.arange(count)
        return by_lag[:, steps[:, None] - steps + count - 1]


class TransformerSeries(eqx.Module):
    """Steps -> their mean after attention to one another, by how far apart they are.

    Time and memory grow with the square of the number of steps: for some hundred.

    >>> encode = TransformerSeries(3, 8, jr.key(0))
    >>> steps, kept = jr.normal(jr.key(1), (5, 3)), jnp.ones(5, bool)
    >>> forward, backward = encode(steps, kept), encode(steps[::-1], kept)
    >>> forward.shape, bool(jnp.allclose(forward, backward))
    ((8,), False)
    """

    embed: eqx.nn.Linear
    layers: list[RelativeAttention]
    size: int = eqx.field(static=True)

    def __init__(self, features: int, size: int, key: PRNGKeyArray) -> None:
        first, *rest = jr.split(key, LAYERS + 1)
        self.size = size
        self.embed = eqx.nn.Linear(features, size, key=first)
        self.layers = [RelativeAttention(size, k) for k in rest]

    def __call__(self, steps: Float[Array, "N F"], mask: Bool[Array, " N"]) -> Float[Array, " E"]:
        """Steps (N, F) -> their context (E,) times the number of those that the mask keeps."""
        hidden = jax.vmap(self.embed)(jnp.where(mask[:, None], steps, 0.0))
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return jnp.sum(jnp.where(mask[:, None], hidden, 0.0), 0)

    def read(self, mean: Float[Array, " E"]) -> Float[Array, " E"]:
        """The mean over steps, unchanged."""
        return mean
