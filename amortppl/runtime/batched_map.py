"""A function mapped over many inputs, some at a time, compiled once."""

from collections.abc import Callable
from typing import Any

import jax


def batched_map(function: Callable[[Any], Any], many: Any, at_once: int) -> Any:
    """`function` of each of many (a tree with a leading axis), at most `at_once` together.

    As `lax.map`, which compiles the function a second time for what is left over: here the number
    taken together divides the whole, if one does that is more than half of what is allowed.
    """
    total = len(jax.tree.leaves(many)[0])
    most = max(1, min(at_once, total))
    size = next((n for n in range(most, most // 2, -1) if total % n == 0), None)
    if size is None:
        return jax.lax.map(function, many, batch_size=most)
    if size == total:
        return jax.vmap(function)(many)
    parts = jax.tree.map(lambda a: a.reshape(total // size, size, *a.shape[1:]), many)
    return jax.tree.map(
        lambda a: a.reshape(total, *a.shape[2:]), jax.lax.map(jax.vmap(function), parts)
    )
