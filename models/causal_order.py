"""Topological order of a linear structural causal model: rows of a table, the order latent by
scores.

    scores ~ N(0, I),  effects_jk ~ N(0, 1),  noise_j ~ LogNormal(-0.5, 0.5)
    row_i = B row_i + e_i,  e_ij ~ N(0, noise_j^2),    B_jk = effects_jk [score_k < score_j] 1.5 /
    sqrt(nodes)

Ascending scores are a topological order. Peters, Janzing and Scholkopf 2017, "Elements of Causal
Inference", chapter 7.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular

TASK = {"rows": (50, 200), "likelihood": False}

NODES = 10


def model(n, table=None):
    """n rows; table (N, nodes) out."""
    scores = numpyro.sample("scores", dist.Normal(0, 1).expand([NODES]).to_event(1))
    effects = numpyro.sample("effects", dist.Normal(0, 1).expand([NODES, NODES]).to_event(2))
    noise = numpyro.sample("noise", dist.LogNormal(-0.5, 0.5).expand([NODES]).to_event(1))
    order = jnp.argsort(scores)
    inward = jnp.tril(effects[order][:, order], -1) * 1.5 / NODES**0.5
    spread = solve_triangular(
        jnp.eye(NODES) - inward, jnp.diag(noise[order]), lower=True, unit_diagonal=True
    )
    back = jnp.argsort(order)
    with numpyro.plate("row", n):
        covariance = (spread @ spread.T)[back][:, back] + 1e-5 * jnp.eye(NODES)
        numpyro.sample("table", dist.MultivariateNormal(jnp.zeros(NODES), covariance), obs=table)
