"""Binds latents to rows where no likelihood says how: learned edges, and a learned gradient.

    e_ijd = c_i' A_d x_j,    v_jd = r_d' x_j + b_d sum_i e_ijd m_i,    g_ij = sum_d e_ijd v_jd

with c_i the code of latent i, m_i its location and x_j the numbers of row j and a one. In a linear
model e is the latent's covariate, v the residual and g the row's gradient: products that a network
which is given the numbers finds slowly.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

FAR = 10.0
"""Numbers of a row beyond which they bind no more."""

LENGTH = 2.0
"""What edges are divided by on their way to messages."""


class RowBinding(eqx.Module):
    """Codes (P, E), rows (B, R) and locations (P,) -> edges (P, B, D) and slopes (B, P).

    Example:
        >>> binding = RowBinding(width=8, rows=3, edges=2, key=jr.key(0))
        >>> edges, slopes = binding(jnp.ones((5, 8)), jnp.ones((7, 3)), jnp.zeros(5))
        >>> edges.shape, slopes.shape
        ((5, 7, 2), (7, 5))
    """

    bind: Float[Array, "D E R1"]
    read: Float[Array, "D R1"]
    back: Float[Array, " D"]

    def __init__(self, width: int, rows: int, edges: int, key: PRNGKeyArray) -> None:
        keys = jr.split(key)
        size = (rows + 1) ** 0.5
        self.bind = jr.normal(keys[0], (edges, width, rows + 1)) / (size * width**0.5)
        self.read = jr.normal(keys[1], (edges, rows + 1)) / size
        self.back = jnp.zeros(edges)

    def __call__(
        self,
        codes: Float[Array, "P E"],
        rows: Float[Array, "B R"],
        location: Float[Array, " P"],
    ) -> tuple[Float[Array, "P B D"], Float[Array, "B P"]]:
        """Edges for messages between latents and rows, and the learned gradient of each row."""
        numbers = jnp.pad(jnp.clip(rows, -FAR, FAR), ((0, 0), (0, 1)), constant_values=1.0)
        edges = jnp.einsum("pe,der,br->pbd", codes, self.bind, numbers)
        along = jnp.einsum("pbd,p->bd", edges, location)
        residuals = numbers @ self.read.T + self.back * along
        return edges / LENGTH, jnp.einsum("pbd,bd->bp", edges, residuals)
