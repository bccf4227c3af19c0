"""Topological order of a linear structural causal model, asked one node after another.

    order ~ uniform,  effects_jk ~ N(0, 1),  noise_j ~ LogNormal(-0.5, 0.5)
    row_i = B row_i + e_i,  e_ij ~ N(0, noise_j^2),    B_jk = effects_jk [k before j] 1.5 / sqrt(5)
    p(order | table) = prod_s p(order_s | order_1 .. order_s-1, table)

The first 100 rows of an episode are rows of the table: `values`, nothing `placed`, and `node` 5,
which says that none is asked for. Rows beyond are questions: no values, the nodes `placed` so far,
and the `node` that comes next in the true order. A question sees the nodes before its own alone,
which is a causal mask. Peters, Janzing and Scholkopf 2017, "Elements of Causal Inference", chapter
7; as an amortized task Mittal et al. 2025, arXiv 2510.11471.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.linalg import solve_triangular
from numpyro.distributions import constraints

NODES, TABLE = 5, 100

TASK = {
    "inputs": ["values", "placed", "asked"],
    "observed": {"node": constraints.integer_interval(0, NODES)},
    "rows": (20, TABLE),
    "dims": {"values": ["column"], "placed": ["column"]},
}


def episodes(key, rows):
    """Rows of the table, then questions: values, placed (rows, 5), asked (rows,), node (rows,)."""
    keys = jr.split(key, 3)
    order = jr.permutation(keys[0], NODES)
    question = jnp.arange(rows) >= TABLE
    step = jr.randint(keys[2], (rows,), 0, NODES)
    rank = jnp.argsort(order)
    placed = question[:, None] & (rank < step[:, None])
    return {
        "values": jnp.where(question[:, None], 0.0, table(keys[1], rows, order)),
        "placed": placed.astype(jnp.float32),
        "asked": question.astype(jnp.float32),
        "node": jnp.where(question, order[step], NODES),
    }


def table(key, rows, order, noise=None):
    """Rows (rows, 5) of a random model in which causes come before effects in the order.

    Args:
        key: of the model and its rows.
        rows: how many.
        order: nodes from first cause to last effect, (5,).
        noise: sds of the nodes in that order, (5,), random by default.
    """
    keys = jr.split(key, 3)
    drawn = jnp.exp(-0.5 + 0.5 * jr.normal(keys[0], (NODES,)))
    inward = jnp.tril(jr.normal(keys[1], (NODES, NODES)), -1) * 1.5 / NODES**0.5
    errors = (drawn if noise is None else noise) * jr.normal(keys[2], (rows, NODES))
    values = solve_triangular(jnp.eye(NODES) - inward, errors.T, lower=True, unit_diagonal=True)
    return values.T[:, jnp.argsort(order)]


def decode(probabilities, start=None):
    """The order found by taking the likeliest node not yet placed, again and again: (5,).

    Args:
        probabilities: of each node to be next, (5,), as a function of the nodes placed, (5,).
        start: nodes placed already, none by default.
    """

    def place(placed, _):
        node = jnp.argmax(jnp.where(placed > 0, -1.0, probabilities(placed)))
        return placed.at[node].set(1.0), node

    begun = jnp.zeros(NODES) if start is None else start
    return jax.lax.scan(place, begun, None, NODES)[1]
