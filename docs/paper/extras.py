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
from amortppl.models import image_features
from amortppl.models.known_noise_regression import NOISE

from paper.contenders import ITERATED, ONE_STEP
from paper.measure import QUERIES, curve, exact_curve
from paper.process import BASES, design, exact_weights
from paper.process import NOISE as NOISE_OF_PROCESS
from paper.results import RESULTS
from paper.run import restored
from paper.settings import drawn, setting

FAR, FAR_TASKS, BLOCK_TASKS = (20, 50, 100, 200), 64, 128

BLOCKS = 10


def whole(built: Any, name: str, seed: int) -> dict[str, Any]:
    """Nats below the exact predictive after 256 rows in steps of the most that fit, by task."""
    rows = built.options.most
    depth = (256 // rows,)
    data = drawn(name, "like", seed, FAR_TASKS, 256 + QUERIES)
    exact = exact_curve(setting(name).exact, data, rows, depth)[:, 0]
    own = curve(built, data, rows, depth)[:, 0]
    return {"rows": rows, "gap": np.round(exact - own, 5).tolist()}


def far(built: Any, name: str, seed: int) -> dict[str, Any]:
    """Nats below the exact predictive, to ten times the depth trained on, by task.

    Where nothing is exact, nats below what the method itself says at the depth trained on.
    """
    own = setting(name)
    data = drawn(name, "like", seed, FAR_TASKS, own.batch * max(FAR) + QUERIES)
    told = curve(built, data, own.batch, FAR)
    exact = exact_weights if name == "process" else own.exact
    best = told[:, :1] if exact is None else exact_curve(exact, data, own.batch, FAR)
    return {"depths": FAR, "gap": np.round(best - told, 5).tolist()}


def continual(built: Any, name: str, seed: int) -> dict[str, Any]:
    """Rows in ten blocks, each of shifted inputs: log density of queries like the first block's.

    Returns:
        By task, after the blocks in order, after the same rows shuffled, and of the exact
        predictive where there is one.
    """
    own, rows = setting(name), BLOCKS * 2 * setting(name).batch
    data = jax.jit(jax.vmap(lambda key: SHIFTED[name](key, rows)))(
        jr.split(jr.key(777 + seed), BLOCK_TASKS)
    )
    order = jnp.append(jr.permutation(jr.key(1), rows), jnp.arange(rows, rows + QUERIES))
    mixed = {n: v[:, order] for n, v in data.items()}
    depth = (2 * BLOCKS,)
    told = {
        "blocks": curve(built, data, own.batch, depth)[:, 0],
        "shuffled": curve(built, mixed, own.batch, depth)[:, 0],
    }
    if own.exact is not None:
        told["exact"] = exact_curve(own.exact, data, own.batch, depth)[:, 0]
    return {n: np.round(v, 5).tolist() for n, v in told.items()}


def _block(rows: int) -> Any:
    """Which block each row is of, the queries being like the first block's."""
    return jnp.append(jnp.arange(rows) // (rows // BLOCKS), jnp.zeros(QUERIES, int))


def shifted_lines(key: Any, rows: int) -> dict[str, Any]:
    """Inputs of another mean in each block."""
    keys, block = jr.split(key, 4), _block(rows)
    x = jr.normal(keys[0], (BLOCKS, 5))[block] + jr.normal(keys[1], (len(block), 5))
    y = x @ jr.normal(keys[2], (5,)) + NOISE * jr.normal(keys[3], block.shape)
    return {"x": x, "y": y}


def shifted_classes(key: Any, rows: int) -> dict[str, Any]:
    """Features of images moved by as much as they scatter, another way in each block."""
    keys, block = jr.split(key, 4), _block(rows)
    moved = jr.normal(keys[0], (BLOCKS, image_features.FEATURES))[block]
    x = image_features.resampled(keys[1], len(block)) + moved
    weights = jr.normal(keys[2], (image_features.FEATURES, image_features.WAYS))
    return {"x": x, "y": jr.categorical(keys[3], x @ weights)}


def shifted_process(key: Any, rows: int) -> dict[str, Any]:
    """One tenth of the interval after another."""
    keys, block = jr.split(key, 3), _block(rows)
    x = -2.0 + 4.0 * (block + jr.uniform(keys[0], block.shape)) / BLOCKS
    noise = NOISE_OF_PROCESS * jr.normal(keys[2], block.shape)
    return {"x": x, "y": design(x) @ jr.normal(keys[1], (BASES,)) + noise}


SHIFTED = {
    "line5": shifted_lines,
    "classes": shifted_classes,
    "process": shifted_process,
    "weights": shifted_process,
}
"""Rows in shifted blocks, by task."""

DEAR = [("classes", "parametric, whitened"), ("weights", "parametric, whitened")]
"""Whose far depths take minutes: sites of 24 latents, 200 for each of 64 tasks."""


def measures(task: str, method: str) -> dict[str, Any]:
    """What is measured of a method."""
    if method in ONE_STEP:
        return {"whole": whole}
    if (task, method) in DEAR:
        return {"continual": continual}
    more = {"whole": whole} if (task, method) == ("line5", "parametric") else {}
    return more | {"far": far, "continual": continual} if method in ITERATED else {}


def main() -> None:
    """Adds to the lines of the tasks that have rows in shifted blocks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="*", default=list(SHIFTED), help="tasks")
    parser.add_argument("--seeds", type=int, default=1, help="of training")
    given = parser.parse_args()
    for path in (p for task in given.only for p in sorted((given.results / task).glob("*.json"))):
        line = json.loads(path.read_text())
        task, method, seed = line["task"], line["method"], line["seed"]
        wanted = {n: m for n, m in measures(task, method).items() if n not in line}
        if not wanted or seed >= given.seeds:
            continue
        built = restored(given.results, task, method, seed)
        for name, measure in wanted.items():
            line[name] = measure(built, task, seed)
            print(task, method, seed, name, flush=True)
        path.write_text(json.dumps(line) + "\n")
