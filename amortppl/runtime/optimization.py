"""One loop of stochastic gradient descent, compiled as a scan."""

from collections.abc import Callable

import jax
import optax
from jaxtyping import Array


def minimize_stochastic[Tree, Keys](
    loss: Callable[[Tree, Keys], Array],
    start: Tree,
    optimizer: optax.GradientTransformation,
    keys: Keys,
) -> Tree:
    """Minimizes an expected loss by one update for each key.

    >>> import jax, jax.numpy as jnp, optax
    >>> loss = lambda x, key: (x - 3.0) ** 2
    >>> keys = jax.random.split(jax.random.key(0), 60)
    >>> round(float(minimize_stochastic(loss, jnp.zeros(()), optax.sgd(0.2), keys)), 3)
    3.0

    Args:
        loss: of parameters and a key; differentiable in the parameters.
        start: the parameters to begin with, a tree of floating-point arrays.
        optimizer: turns gradients into updates.
        keys: one for each update; or a tree of arrays, of which each update has its row.

    Returns:
        The parameters after the last update.
    """

    def update(carry: tuple, key: Keys) -> tuple[tuple, None]:
        parameters, memory = carry
        change, memory = optimizer.update(jax.grad(loss)(parameters, key), memory)
        return (optax.apply_updates(parameters, change), memory), None

    return jax.lax.scan(update, (start, optimizer.init(start)), keys)[0][0]
