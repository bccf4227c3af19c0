"""What is measured of a trained method beside its curve: far depths and shifted blocks."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from amortppl.models.known_noise_regression import NOISE

from docs.paper.contenders import ITERATED
from docs.paper.measure import QUERIES, curve, exact_curve
from docs.paper.settings import drawn, setting

FAR, FAR_TASKS = (20, 50, 100, 200), 64

BLOCKS = 10


def measured(name: str, method: str, built: Any, seed: int) -> dict[str, Any]:
    """Figures by name; none for most methods."""
    if name != "line5" or method not in ITERATED:
        return {}
    return {"far": far(built, seed), "continual": continual(built, seed)}


def far(built: Any, seed: int) -> dict[str, Any]:
    """Nats below the exact predictive to ten times the depth trained on, by task."""
    own = setting("line5")
    data = drawn("line5", "like", seed, FAR_TASKS, own.batch * max(FAR) + QUERIES)
    gap = exact_curve(own.exact, data, own.batch, FAR) - curve(built, data, own.batch, FAR)
    return {"depths": FAR, "gap": np.round(gap, 5).tolist()}


def continual(built: Any, seed: int) -> dict[str, Any]:
    """Rows in ten blocks, each of shifted inputs: log density of queries like the first block's.

    Returns:
        By task, after the blocks in order, after the same rows shuffled, and of the exact
        predictive.
    """
    own, rows = setting("line5"), BLOCKS * 2 * setting("line5").batch
    data = jax.jit(jax.vmap(lambda key: _blocks(key, rows)))(
        jr.split(jr.key(777 + seed), FAR_TASKS)
    )
    order = jnp.append(jr.permutation(jr.key(1), rows), jnp.arange(rows, rows + QUERIES))
    mixed = {n: v[:, order] for n, v in data.items()}
    depth = (2 * BLOCKS,)
    ordered, shuffled = (curve(built, d, own.batch, depth)[:, 0] for d in (data, mixed))
    exact = exact_curve(own.exact, data, own.batch, depth)[:, 0]
    return {
        n: np.round(v, 5).tolist()
        for n, v in (("blocks", ordered), ("shuffled", shuffled), ("exact", exact))
    }


def _blocks(key: Any, rows: int) -> dict[str, Any]:
    """Blocks of rows whose inputs have another mean each, then queries like the first block's."""
    keys = jr.split(key, 4)
    size = rows // BLOCKS
    centres = jr.normal(keys[0], (BLOCKS, 5))
    block = jnp.append(jnp.arange(rows) // size, jnp.zeros(QUERIES, int))
    x = centres[block] + jr.normal(keys[1], (rows + QUERIES, 5))
    y = x @ jr.normal(keys[2], (5,)) + NOISE * jr.normal(keys[3], (rows + QUERIES,))
    return {"x": x, "y": y}
