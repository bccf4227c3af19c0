"""Multi-layer perceptrons with a given output before training."""

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
    """A multi-layer perceptron.

    >>> import jax, jax.numpy as jnp
    >>> net = mlp(3, 2, 8, 1, jax.random.key(0), start=jnp.array([1.0, 2.0]))
    >>> net(jnp.ones(3)).tolist()
    [1.0, 2.0]

    Args:
        inputs, outputs: numbers in and out.
        width, depth: of the hidden layers.
        key: draws the weights.
        start: the output whatever the input, until it is trained; None for that of random weights.
        activation: of the hidden layers.
    """
    net = eqx.nn.MLP(inputs, outputs, width, depth, activation=activation, key=key)
    if start is None:
        return net
    last = net.layers[-1]
    return eqx.tree_at(
        lambda n: (n.layers[-1].weight, n.layers[-1].bias),
        net,
        (jnp.zeros_like(last.weight), start),
    )
