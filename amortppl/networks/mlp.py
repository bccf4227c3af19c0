"""Multi-layer perceptrons whose output starts where it is told to."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def mlp(
    inputs: int,
    outputs: int,
    width: int,
    depth: int,
    key: PRNGKeyArray,
    *,
    start: Float[Array, " K"] | None = None,
    activation: Callable[[Array], Array] = jax.nn.gelu,
) -> eqx.nn.MLP:
    """A perceptron; with `start` its output is that, whatever the input, until it is trained."""
    net = eqx.nn.MLP(inputs, outputs, width, depth, activation=activation, key=key)
    if start is None:
        return net
    last = net.layers[-1]
    return eqx.tree_at(
        lambda n: (n.layers[-1].weight, n.layers[-1].bias),
        net,
        (jnp.zeros_like(last.weight), start),
    )
