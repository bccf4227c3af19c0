"""Multi-layer perceptrons that start at zero output."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray


def mlp(
    inputs: int,
    outputs: int,
    width: int,
    depth: int,
    key: PRNGKeyArray,
    *,
    zero: bool = False,
    activation: Callable[[Array], Array] = jax.nn.gelu,
) -> eqx.nn.MLP:
    """A perceptron; with `zero` its last layer starts at zero, so it corrects nothing."""
    net = eqx.nn.MLP(inputs, outputs, width, depth, activation=activation, key=key)
    if not zero:
        return net
    last = net.layers[-1]
    return eqx.tree_at(
        lambda n: (n.layers[-1].weight, n.layers[-1].bias),
        net,
        (jnp.zeros_like(last.weight), jnp.zeros_like(last.bias)),
    )
