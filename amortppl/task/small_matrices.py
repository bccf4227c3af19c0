"""Cholesky factors of matrices of one to three rows as plain arithmetic, and LAPACK's beyond.

In a loop over the rows of a series a call of LAPACK costs more than the few products it makes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

UNROLLED = 4
"""Rows of a matrix up to which a factor is written out."""


def cholesky(a: Float[Array, "*N L L"], least: float | None = None) -> Float[Array, "*N L L"]:
    """The lower factor C of a = C C'.

    Args:
        a: symmetric.
        least: if given, pivots count by their sizes and are at least so large: C C' is then
            positive definite whatever a is.

    >>> cholesky(jnp.array([[4.0, 2.0], [2.0, 2.0]])).tolist()
    [[2.0, 0.0], [1.0, 1.0]]
    """
    size, columns = a.shape[-1], []
    if size > UNROLLED and least is None:
        return jnp.linalg.cholesky(a)
    for j in range(size):
        column = a[..., :, j] - sum(c * c[..., j : j + 1] for c in columns)
        pivot = column[..., j : j + 1]
        pivot = pivot if least is None else jnp.maximum(jnp.abs(pivot), least)
        column = jnp.where(np.arange(size) >= j, column / jnp.sqrt(pivot), 0.0)
        columns.append(jnp.where(np.arange(size) == j, jnp.sqrt(pivot), column))
    return jnp.stack(columns, -1)


def inverse_factor(factor: Float[Array, "*N L L"]) -> Float[Array, "*N L L"]:
    """C^-1 of a lower factor.

    >>> inverse_factor(jnp.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
    [[0.5, 0.0], [-0.5, 1.0]]
    """
    size, rows = factor.shape[-1], []
    if size > UNROLLED:
        eye = jnp.broadcast_to(jnp.eye(size, dtype=factor.dtype), factor.shape)
        return jax.scipy.linalg.solve_triangular(factor, eye, lower=True)
    for i in range(size):
        row = np.eye(size)[i] - sum(factor[..., i, k : k + 1] * rows[k] for k in range(i))
        rows.append(row / factor[..., i, i : i + 1])
    return jnp.stack(rows, -2)


def inverse(a: Float[Array, "*N L L"]) -> Float[Array, "*N L L"]:
    """a^-1 of a positive definite matrix."""
    white = inverse_factor(cholesky(a))
    return white.mT @ white


def half_log_det(factor: Float[Array, "*N L L"]) -> Float[Array, "*N"]:
    """log |C|."""
    return jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), -1)
