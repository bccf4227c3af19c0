"""What is measured of trained methods beside their curves: far depths, shifted blocks, one step.

    python docs/paper extras

Reads what `python docs/paper run` kept, and adds what is missing to its lines.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from amortppl.models.known_noise_regression import NOISE

from paper.contenders import ITERATED, ONE_STEP
from paper.measure import QUERIES, curve, exact_curve
from paper.run import restored
from paper.settings import drawn, setting

FAR, FAR_TASKS = (20, 50, 100, 200), 64

BLOCKS = 10


def whole(built: Any, seed: int) -> dict[str, Any]:
    """Nats below the exact predictive after 256 rows in steps of the most that fit, by task."""
    rows = built.options.most
    depth = (256 // rows,)
    data = drawn("line5", "like", seed, FAR_TASKS, 256 + QUERIES)
    exact = exact_curve(setting("line5").exact, data, rows, depth)[:, 0]
    own = curve(built, data, rows, depth)[:, 0]
    return {"rows": rows, "gap": np.round(exact - own, 5).tolist()}


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


def measures(method: str) -> dict[str, Any]:
    """What is measured of a method."""
    if method in ONE_STEP:
        return {"whole": whole}
    more = {"whole": whole} if method == "parametric" else {}
    return more | {"far": far, "continual": continual} if method in ITERATED else {}


def main() -> None:
    """Adds to the lines of the regression in 5 dimensions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("build/paper"))
    folder = parser.parse_args().results
    for path in sorted((folder / "line5").glob("*.json")):
        line = json.loads(path.read_text())
        wanted = {n: m for n, m in measures(line["method"]).items() if n not in line}
        if not wanted:
            continue
        built = restored(folder, "line5", line["method"], line["seed"])
        for name, measure in wanted.items():
            line[name] = measure(built, line["seed"])
            print(line["method"], line["seed"], name, flush=True)
        path.write_text(json.dumps(line) + "\n")
