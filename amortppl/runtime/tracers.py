"""Whether a value is known while JAX traces a function.

Leans on `jax.core.Tracer`, the class of values that are not known. `jax.core` is no stable
interface, and JAX offers no public test. Checked with JAX 0.12.0.1; tests/runtime/test_internals.py
fails where traced values are of another class.
"""

from typing import Any

import jax


def is_traced(value: Any) -> bool:
    """Whether a value is abstract, as the arguments of a jitted function are.

    >>> import jax
    >>> is_traced(jax.numpy.ones(2))
    False
    >>> bool(jax.jit(lambda x: x if is_traced(x) else 0 * x)(1))
    True
    """
    return isinstance(value, jax.core.Tracer)
