"""A simulator in Python called from compiled programs, where draws of latents predict data."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from amortppl.errors import ModelError
from amortppl.simulators.prior import Prior
from amortppl.simulators.worker import Call, simulate_chunk
from amortppl.task.simulation_task import Values

Shapes = Mapping[str, tuple[int, ...]]


def python_predictor(
    prior: Prior, call: Call, shapes: Shapes, block: bool
) -> Callable[[PRNGKeyArray, Values, int], Values]:
    """`(key, latents, rows) -> data`, which calls the simulator; a draw that fails is NaN.

    Args:
        prior: computes what the simulator takes beside latents.
        call: how the simulator is called.
        shapes: of one simulation.
        block: whether a simulation is one block, and has no rows.
    """

    def wanted(rows: int) -> dict[str, tuple[int, ...]]:
        return dict(shapes) if block else _wanted(shapes, call.rows, rows)

    def run(entropy: np.ndarray, values: Mapping[str, np.ndarray], rows: int) -> Values:
        batch = entropy.shape[:-1]
        flat = {n: _wide(v).reshape(-1, *v.shape[len(batch) :]) for n, v in values.items()}
        seeds = [[int(k) for k in e] for e in entropy.reshape(-1, entropy.shape[-1])]
        asked = None if block else rows
        outcomes = simulate_chunk(call, flat, asked, seeds, list(range(len(seeds)))).outcomes
        return {
            n: np.stack([_fitting(o, n, s) for o in outcomes]).reshape(*batch, *s)
            for n, s in wanted(rows).items()
        }

    def predict(key: PRNGKeyArray, values: Values, rows: int) -> Values:
        made = jax.pure_callback(
            lambda e, v: run(np.asarray(e), {n: np.asarray(a) for n, a in v.items()}, rows),
            {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in wanted(rows).items()},
            jr.bits(key, (4,), jnp.uint32),
            prior.complete(values),
            vmap_method="broadcast_all",
        )
        return made if block else {n: v[:rows] for n, v in made.items()}

    return predict


def _wanted(shapes: Shapes, takes_rows: bool, rows: int) -> dict[str, tuple[int, ...]]:
    """Shapes of one prediction: with as many rows as are asked for, if it takes their number.

    Raises:
        ModelError: it always makes fewer.
    """
    if takes_rows:
        return {n: (rows, *s[1:]) for n, s in shapes.items()}
    fewest = min((s[0] for s in shapes.values() if s), default=rows)
    if fewest < rows:
        raise ModelError(
            f"simulator: {rows} rows are asked for and it makes {fewest}; let it take their "
            "number, as an argument `rows`"
        )
    return dict(shapes)


def _wide(values: np.ndarray) -> np.ndarray:
    """Numbers as the simulator gets them from the prior: floats in 64 bits."""
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def _fitting(outcome: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = None if isinstance(outcome, str) else outcome.get(name)
    if values is None or values.shape != shape:
        return np.full(shape, np.nan, np.float32)
    return values
