"""The arrays of a tree as one flat vector, outside of programs by NumPy.

`jax.flatten_util.ravel_pytree` compiles a program for each leaf, and each again the other way.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array


def flatten(tree: Any) -> tuple[Array, Callable[[Any], Any]]:
    """The leaves of a tree one after another, (W,), and what makes the tree of such a vector.

    Leaves of several dtypes, or inside a program, are left to `ravel_pytree`.

    >>> import jax.numpy as jnp
    >>> flat, restore = flatten({"a": jnp.ones((2, 2)), "b": jnp.zeros(3)})
    >>> flat.shape, jax.tree.map(jnp.shape, restore(2 * flat))
    ((7,), {'a': (2, 2), 'b': (3,)})
    """
    leaves, structure = jax.tree.flatten(tree)
    kinds = {np.dtype(leaf.dtype) for leaf in leaves}
    if len(kinds) != 1 or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return ravel_pytree(tree)
    shapes = [np.shape(leaf) for leaf in leaves]
    ends = np.cumsum([np.prod(s, dtype=int) for s in shapes]).tolist()
    places = list(zip([0, *ends], ends, shapes, strict=False))

    def restore(vector: Any) -> Any:
        inside = isinstance(vector, jax.core.Tracer)
        values = vector if inside else np.asarray(vector)
        parts = [values[start:stop].reshape(shape) for start, stop, shape in places]
        return jax.tree.unflatten(
            structure, parts if inside else jax.device_put([p.copy() for p in parts])
        )

    return jax.device_put(np.concatenate([np.ravel(leaf) for leaf in leaves])), restore
