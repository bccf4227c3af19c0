"""Losses of single tasks, bounded so that one task does not decide an update."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def softly_bounded(scores: Float[Array, "*T"], ceiling: float) -> Float[Array, "*T"]:
    """Scores that grow as their logarithm above a ceiling: there they keep a gradient, since a
    state that is sure of a wrong mode has to learn from just those tasks.

    Example:
        >>> [round(float(s), 2) for s in softly_bounded(jnp.array([3.0, 20.0]), 10.0)]
        [3.0, 16.93]
    """
    over = jnp.maximum(scores / ceiling, 1.0)
    return jnp.minimum(scores, ceiling) + ceiling * jnp.log(over)
